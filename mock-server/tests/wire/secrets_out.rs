//! Secrets on their way out: which servers get values, and which placeholders. Programs run in sandboxes, servers on the
//! host; nothing leaves this machine.

use base64::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, id},
    network_settings::enforced,
    support::{Sandbox, client, eventually, new_key, server},
    upstream::{Proof, Seen, Upstream},
};

const VALUE: &str = "sk-the-value";

/// An organisation with the secret `key`, and a started sandbox that has it as `KEY`.
struct Account {
    api: Api,
    secret: String,
    placeholder: String,
    sandbox: Sandbox,
}

impl Account {
    async fn new(hosts: &[&str]) -> Account {
        Account::with(hosts, json!({"secrets": [{"KEY": "key"}]})).await
    }

    async fn with(hosts: &[&str], body: Value) -> Account {
        let key = new_key().await;
        let api = Api { url: server().api_url.clone(), client: client(&key), key };
        let (status, made) = api.post("/secret", json!({"name": "key", "value": VALUE, "hosts": hosts})).await;
        assert_eq!(status, 201, "{made}");
        let placeholder = made["placeholder"].as_str().expect("a placeholder").to_owned();
        let sandbox = api.sandbox(body).await;
        let sandbox = Sandbox { id: id(&sandbox), key: api.key.clone(), client: api.client.clone() };
        sandbox.until("started").await;
        Account { secret: format!("/secret/{}", id(&made)), api, placeholder, sandbox }
    }

    async fn change(&self, change: Value) {
        let (status, answer) = self.api.call("PATCH", &self.secret, change).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn restart(&self) {
        self.sandbox.api(Method::POST, "/stop?force=true").await;
        self.sandbox.until("stopped").await;
        self.sandbox.api(Method::POST, "/start").await;
        self.sandbox.until("started").await;
    }

    /// Runs Python inside, where `key` is the variable and `get(host, port, …)` asks a server; what it prints.
    async fn python(&self, script: &str) -> String {
        self.sandbox.run(&format!("echo {} | base64 -d | python3", encoded(script))).await.trim_end().to_owned()
    }

    /// What a server gets as `Authorization` from a program that sends the variable.
    async fn authorization(&self, upstream: &Upstream, secure: bool, host: &str) -> String {
        let ask = format!("get('{host}', {}, tls={})", upstream.port, if secure { "True" } else { "None" });
        self.python(&ask).await;
        let [seen] = &upstream.seen()[..] else { panic!("one request") };
        seen.header("authorization").to_owned()
    }
}

fn encoded(script: &str) -> String {
    const BEGINNING: &str = "
import os, ssl, http.client, socket, json
key = os.environ.get('KEY', '')
def connect(host, port, tls=None):
    if tls is None:
        return http.client.HTTPConnection(host, port, timeout=30)
    context = ssl.create_default_context() if tls else ssl._create_unverified_context()
    return http.client.HTTPSConnection(host, port, timeout=30, context=context)
def ask(connection, **headers):
    connection.request('GET', '/' + key + '?key=' + key, headers={'Authorization': 'Bearer ' + key, **headers})
    answer = connection.getresponse()
    assert answer.read() == b'seen' and answer.getheader('x-mark') == 'upstream', answer.status
def get(server, port, tls=None, **headers):
    connection = connect(server, port, tls)
    ask(connection, **headers)
    if tls is not None:
        print(connection.sock.getpeercert(binary_form=True).hex())
";
    base64::engine::general_purpose::STANDARD.encode(format!("{BEGINNING}{script}\n"))
}

fn bearer(text: &str) -> String {
    format!("Bearer {text}")
}

fn authorizations(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|one| one.header("authorization")).collect()
}

#[tokio::test]
async fn plain_http_has_the_value_where_it_may_go() {
    if !enforced().await {
        return;
    }
    let (account, upstream) = (Account::new(&["host.internal"]).await, Upstream::start(Proof::None).await);
    assert_eq!(account.authorization(&upstream, false, "host.internal").await, bearer(VALUE));
    let placeholder = bearer(&account.placeholder);
    assert_eq!(account.authorization(&upstream, false, "host.docker.internal").await, placeholder);
    assert_eq!(account.authorization(&upstream, false, "10.0.2.2").await, placeholder);

    // Headers only; several requests on one connection; another Host on it is another server.
    let before = upstream.connections();
    let script = format!(
        "c = connect('host.internal', {}); ask(c, cookie=f'a={{key}}; b={{key}}'); ask(c); ask(c, host='host.docker.internal')
c.request('POST', '/', body=key, headers={{'X-Key': key}}); assert c.getresponse().read() == b'seen'",
        upstream.port
    );
    account.python(&script).await;
    let seen = upstream.seen();
    assert_eq!(upstream.connections() - before, 1);
    assert_eq!(authorizations(&seen[..3]), [&bearer(VALUE), &bearer(VALUE), &placeholder]);
    assert_eq!(seen[0].header("cookie"), format!("a={VALUE}; b={VALUE}"));
    assert_eq!(seen[0].target, format!("/{0}?key={0}", account.placeholder));
    assert_eq!((seen[3].header("x-key"), &seen[3].body[..]), (VALUE, account.placeholder.as_bytes()));
}

#[tokio::test]
async fn a_host_header_is_no_proof() {
    if !enforced().await {
        return;
    }
    let (account, upstream) = (Account::new(&["api.example.com"]).await, Upstream::start(Proof::None).await);
    // What a hostile program would do: dial a server of its own and name one of the list.
    for dialled in ["host.internal", "10.0.2.2"] {
        account.python(&format!("get('{dialled}', {}, host='api.example.com')", upstream.port)).await;
        let seen = upstream.seen();
        assert_eq!(authorizations(&seen), [&bearer(&account.placeholder)], "{dialled}");
    }
    let hosts = "echo 10.0.2.2 api.example.com | sudo tee -a /etc/hosts";
    account.sandbox.run(hosts).await;
    assert_eq!(account.authorization(&upstream, false, "api.example.com").await, bearer(&account.placeholder));
}

#[tokio::test]
async fn https_is_intercepted_where_the_value_may_go_and_nowhere_else() {
    if !enforced().await {
        return;
    }
    let (account, upstream) = (Account::new(&["host.internal"]).await, Upstream::start(Proof::Authority).await);
    let shown = account.python(&format!("get('host.internal', {}, tls=True)", upstream.port)).await;
    assert_ne!(shown, upstream.certificate, "a certificate of the sandbox's authority");
    assert_eq!(authorizations(&upstream.seen()), [&bearer(VALUE)]);

    // Another name of the same server: its own certificate, which nothing inside trusts.
    let other = format!("get('host.docker.internal', {}, tls=False)", upstream.port);
    assert_eq!(account.python(&other).await, upstream.certificate);
    assert_eq!(authorizations(&upstream.seen()), [&bearer(&account.placeholder)]);

    // A name inside that isn't the one that was proved.
    account.python(&format!("get('host.internal', {}, tls=True, host='host.docker.internal')", upstream.port)).await;
    assert_eq!(authorizations(&upstream.seen()), [&bearer(&account.placeholder)]);

    let before = upstream.connections();
    let many = format!("c = connect('host.internal', {}, True)\nfor _ in range(5): ask(c)", upstream.port);
    account.python(&many).await;
    assert_eq!(authorizations(&upstream.seen()), [&bearer(VALUE); 5]);
    assert_eq!(upstream.connections() - before, 1);
}

#[tokio::test]
async fn wildcards_and_no_hosts_at_all() {
    if !enforced().await {
        return;
    }
    let (account, upstream) = (Account::new(&["*.docker.internal"]).await, Upstream::start(Proof::Authority).await);
    assert_eq!(account.authorization(&upstream, true, "host.docker.internal").await, bearer(VALUE));
    account.python(&format!("get('host.internal', {}, tls=False)", upstream.port)).await;
    assert_eq!(authorizations(&upstream.seen()), [&bearer(&account.placeholder)]);
    account.change(json!({"hosts": []})).await;
    assert_eq!(account.authorization(&upstream, true, "host.internal").await, bearer(VALUE));
    let plain = Upstream::start(Proof::None).await;
    assert_eq!(account.authorization(&plain, false, "10.0.2.2").await, bearer(VALUE));
}

#[tokio::test]
async fn changes_hold_from_the_next_request_on() {
    if !enforced().await {
        return;
    }
    let (account, upstream) = (Account::new(&["host.internal"]).await, Upstream::start(Proof::Authority).await);
    // One connection all the time: a request whenever there is one more line.
    let script = format!(
        "import time
c, done = connect('host.internal', {}, True), 0
while done < 5:
    if os.path.exists('go') and len(open('go').read()) > done:
        ask(c); done += 1
    time.sleep(0.01)",
        upstream.port
    );
    let background = format!("(echo {} | base64 -d | python3 >log 2>&1 &)", encoded(&script));
    account.sandbox.run(&background).await;
    let next = async || {
        account.sandbox.run("printf x >> go").await;
        let [seen] = &eventually("a request", async || Some(upstream.seen()).filter(|seen| !seen.is_empty())).await[..]
        else {
            panic!("one request");
        };
        seen.header("authorization").to_owned()
    };
    let placeholder = bearer(&account.placeholder);
    assert_eq!(next().await, bearer(VALUE));
    account.change(json!({"value": "rotated"})).await;
    assert_eq!(next().await, "Bearer rotated");
    account.change(json!({"hosts": ["api.example.com"]})).await;
    assert_eq!(next().await, placeholder);
    account.change(json!({"hosts": ["*.internal"]})).await;
    assert_eq!(next().await, "Bearer rotated");
    let attach = format!("/sandbox/{}/secrets", account.sandbox.id);
    assert_eq!(account.api.put(&attach, json!({"secrets": []})).await.0, 200);
    assert_eq!(next().await, placeholder);
    assert_eq!(upstream.connections(), 1);
    assert_eq!(account.api.put(&attach, json!({"secrets": [{"KEY": "key"}]})).await.0, 200);
    assert_eq!(account.authorization(&upstream, true, "host.internal").await, "Bearer rotated");
    assert_eq!(account.api.delete(&account.secret).await.0, 204);
    let late = format!("key = '{}'; get('host.internal', {}, tls=False)", account.placeholder, upstream.port);
    assert_eq!(account.python(&late).await, upstream.certificate, "no secret, no interception");
    assert_eq!(authorizations(&upstream.seen()), [&placeholder]);
}

#[tokio::test]
async fn upgrades_become_tunnels_that_nobody_reads() {
    if !enforced().await {
        return;
    }
    let account = Account::new(&["host.internal"]).await;
    for (proof, tls) in [(Proof::None, "None"), (Proof::Authority, "True")] {
        let upstream = Upstream::start(proof).await;
        // A request first, so that the upgrade isn't the connection's beginning.
        let script = format!(
            "c = connect('host.internal', {}, {tls}); ask(c); s = c.sock
s.sendall(f'GET /echo HTTP/1.1\\r\\nHost: host.internal\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\nAuthorization: Bearer {{key}}\\r\\n\\r\\n'.encode())
head = b''
while b'\\r\\n\\r\\n' not in head: head += s.recv(1)
assert head.startswith(b'HTTP/1.1 101'), head
said = (key * 50000).encode(); s.sendall(said[:500])
back = b''
while len(back) < 500: back += s.recv(65536)
import threading; threading.Thread(target=lambda: s.sendall(said[500:])).start()
while len(back) < len(said): back += s.recv(65536)
print(back == said)",
            upstream.port
        );
        assert_eq!(account.python(&script).await, "True");
        let seen = upstream.seen();
        assert_eq!(authorizations(&seen), [&bearer(VALUE), &bearer(VALUE)]);
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    const LENGTH: usize = 24 << 20;
    if !enforced().await {
        return;
    }
    let (account, upstream) = (Account::new(&["host.internal"]).await, Upstream::start(Proof::Authority).await);
    // The answer tells how much has come while the rest isn't sent yet.
    let script = format!(
        "c = connect('host.internal', {}, True); c.connect(); s = c.sock
s.sendall(f'POST /progress HTTP/1.1\\r\\nHost: host.internal\\r\\nAuthorization: {{key}}\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n'.encode())
def chunk(data): s.sendall(b'%x\\r\\n' % len(data) + data + b'\\r\\n')
chunk(b'first')
text = s.makefile('rb')
while text.readline() != b'\\r\\n': pass
def told():
    size = int(text.readline(), 16)
    if size: line = text.read(size + 2); return int(line.split()[-1])
assert told() == 5
for n in range({LENGTH} >> 18): chunk(b'x' * (1 << 18))
s.sendall(b'0\\r\\n\\r\\n')
last = 5
while (now := told()) is not None: last = now
print(last)",
        upstream.port
    );
    assert_eq!(account.python(&script).await, (LENGTH + 5).to_string());
    let [seen] = &upstream.seen()[..] else { panic!("one request") };
    assert_eq!((seen.header("authorization"), seen.body.len()), (VALUE, LENGTH + 5));
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_name_gets_nothing() {
    if !enforced().await {
        return;
    }
    let (account, upstream) = (Account::new(&["host.internal"]).await, Upstream::start(Proof::Itself).await);
    let script = format!(
        "try: get('host.internal', {}, tls=True)
except ssl.SSLCertVerificationError: print('refused')",
        upstream.port
    );
    assert_eq!(account.python(&script).await, "refused", "as without secrets");
    assert_eq!(upstream.seen().len(), 0);
    let unwary = format!("get('host.internal', {}, tls=False)", upstream.port);
    assert_eq!(account.python(&unwary).await, upstream.certificate);
    assert_eq!(authorizations(&upstream.seen()), [&bearer(&account.placeholder)]);
}

#[tokio::test]
async fn one_without_secrets_has_to_be_restarted() {
    if !enforced().await {
        return;
    }
    let account = Account::with(&["host.internal"], json!({})).await;
    let upstream = Upstream::start(Proof::Authority).await;
    let variables = "env | grep -cE 'NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|CURL_CA_BUNDLE|GIT_SSL_CAINFO' || true";
    let store = "ls /etc/ssl/*daytona* 2>/dev/null | wc -l; wc -c < /etc/ssl/certs/ca-certificates.crt";
    let bare = account.sandbox.run(store).await;
    assert_eq!((account.sandbox.run(variables).await.as_str(), bare.starts_with("0\n")), ("0\n", true));
    let attach = format!("/sandbox/{}/secrets", account.sandbox.id);
    assert_eq!(account.api.put(&attach, json!({"secrets": [{"KEY": "key"}]})).await.0, 200);
    let ask = format!("get('host.internal', {}, tls=False)", upstream.port);
    assert_eq!(account.python(&ask).await, upstream.certificate);
    assert_eq!(authorizations(&upstream.seen()), [&bearer(&account.placeholder)]);
    account.restart().await;
    assert_eq!(account.authorization(&upstream, true, "host.internal").await, bearer(VALUE));
    assert_eq!(account.sandbox.run(variables).await, "4\n");
    assert!(account.sandbox.run(store).await.starts_with("1\n"));
    // Its authority is of one start only, and goes with the secrets.
    let own = "sha256sum < /etc/ssl/daytona-mock-secrets.pem";
    let first = account.sandbox.run(own).await;
    account.restart().await;
    assert_ne!(account.sandbox.run(own).await, first);
    assert_eq!(account.authorization(&upstream, true, "host.internal").await, bearer(VALUE));
    account.api.put(&attach, json!({"secrets": []})).await;
    account.restart().await;
    assert_eq!((account.sandbox.run(store).await, account.sandbox.run(variables).await), (bare, "0\n".into()));
}

#[tokio::test]
async fn programs_of_all_kinds_trust_the_authority() {
    if !enforced().await {
        return;
    }
    let account =
        Account::with(&["host.internal"], json!({"secrets": [{"KEY": "key"}], "env": {"GIT_SSL_CAINFO": "/mine"}}))
            .await;
    let upstream = Upstream::start(Proof::Authority).await;
    let url = format!("https://host.internal:{}/", upstream.port);
    let node = format!(
        "node -e 'fetch(\"{url}\", {{headers: {{authorization: \"Bearer \" + process.env.KEY}}}}).then(r => r.text()).then(console.log)'"
    );
    let curl = format!("curl -sS -H \"Authorization: Bearer $KEY\" {url}");
    // Without any variable: the system's store.
    let bare = format!("env -i KEY=$KEY PATH=$PATH sh -c '{}'", curl.replace('\'', ""));
    for (program, command) in [("node", node), ("curl", curl), ("curl", bare)] {
        if account.sandbox.run(&format!("command -v {program} || true")).await.is_empty() {
            println!("SKIPPED: no {program} in this base");
            continue;
        }
        assert_eq!(account.sandbox.run(&command).await.trim_end(), "seen", "{command}");
        assert_eq!(authorizations(&upstream.seen()), [&bearer(VALUE)], "{command}");
    }
    assert_eq!(account.sandbox.run("echo $GIT_SSL_CAINFO").await, "/mine\n", "what a client set stays");
}

#[tokio::test]
async fn values_are_nowhere_inside() {
    if !enforced().await {
        return;
    }
    let (account, upstream) = (Account::new(&["host.internal"]).await, Upstream::start(Proof::Authority).await);
    assert_eq!(account.authorization(&upstream, true, "host.internal").await, bearer(VALUE));
    // The pattern must not find itself.
    let pattern = VALUE.replace("the", "[t]he");
    let search = format!(
        "grep -laE '{pattern}' /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; \
         grep -rlE '{pattern}' /etc /home /tmp /run 2>/dev/null; echo end"
    );
    assert_eq!(account.sandbox.run(&search).await, "end\n");
}

#[tokio::test]
async fn health_says_whether_values_go_out() {
    let health = reqwest::get(format!("{}/health", server().base_url)).await.expect("answer");
    let health: Value = health.json().await.expect("JSON");
    let (secrets, outbound) = (&health["capabilities"]["secrets"], &health["capabilities"]["outbound"]["available"]);
    let expected = health["isolation"] != "process" && *outbound == true;
    assert_eq!(secrets["available"], expected, "{health}");
    assert!(secrets["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{health}");
}
