// Lists, adds and removes endpoints, shows their secret and what they were told, and tells it again. The token came
// behind the `#` of the URL; everything else comes from /__control/webhooks.
const token = new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
const message = document.querySelector("#message");

async function ask(method, path, body) {
  const headers = { authorization: `Bearer ${token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(`/__control/webhooks${path}`, { method, headers, body: JSON.stringify(body) });
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(value?.message ?? `status ${answer.status}`);
  return value;
}

// An element with text or children; nothing of what was told becomes markup.
function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function button(text, action) {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", () => run(action));
  return made;
}

async function run(action) {
  message.textContent = "";
  try {
    await action();
  } catch (error) {
    message.textContent = error.message;
  }
}

function row(delivery, endpoint, table) {
  const last = delivery.attempts.at(-1);
  const answer = last ? `${last.status ?? "no answer"} ${last.answer}` : "waiting";
  const payload = element("details", element("summary", delivery.eventType), element("pre", delivery.payload));
  const again = button("Replay", async () => {
    await ask("POST", `/${endpoint.id}/deliveries/${delivery.id}/replay`);
    await show(endpoint, table);
  });
  const cells = [delivery.createdAt, payload, delivery.state, answer, again];
  return element("tr", ...cells.map((cell) => element("td", cell)));
}

async function show(endpoint, table) {
  const { items } = await ask("GET", `/${endpoint.id}/deliveries`);
  const titles = ["Time", "Message", "State", "Answer", ""].map((title) => element("th", title));
  table.replaceChildren(element("tr", ...titles), ...items.map((delivery) => row(delivery, endpoint, table)));
}

function article(endpoint) {
  const [secret, table] = [element("code"), element("table")];
  const made = element("article", element("h2", endpoint.url), element("p", endpoint.eventTypes.join(", ") || "all events"));
  if (endpoint.source === "organization") {
    made.append(
      button("Signing secret", async () => { secret.textContent = (await ask("GET", `/${endpoint.id}/secret`)).key; }),
      button("Delete", async () => { await ask("DELETE", `/${endpoint.id}`); await list(); }),
    );
  }
  made.append(button("Deliveries", () => show(endpoint, table)), secret, table);
  return made;
}

async function list() {
  const { endpoints, eventTypes } = await ask("GET", "");
  document.querySelector("#endpoints").replaceChildren(...endpoints.map(article));
  const events = document.querySelector("#events");
  if (events.childElementCount === 0) {
    for (const name of eventTypes) {
      const box = element("input");
      box.type = "checkbox";
      box.value = name;
      events.append(element("label", box, ` ${name}`));
    }
  }
}

document.querySelector("#add").addEventListener("submit", (event) => {
  event.preventDefault();
  run(async () => {
    const chosen = [...document.querySelectorAll("#events input:checked")].map((box) => box.value);
    await ask("POST", "", { url: document.querySelector("#url").value, eventTypes: chosen });
    document.querySelector("#url").value = "";
    await list();
  });
});

run(list);
