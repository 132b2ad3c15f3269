//! `createSandbox`: what it answers and everything that it refuses.

use serde_json::{Value, json};

use crate::{
    api::{Api, id, keys},
    images::has_images,
    support::server,
};

#[tokio::test]
async fn the_answer_has_the_observed_fields_in_their_order() {
    let api = Api::new().await;
    let sandbox = api.sandbox(json!({})).await;
    let expected = "id organizationId name target snapshot user env cpu gpu memory disk public networkBlockAll kvm labels \
                    volumes state desiredState recoverable backupState autoStopInterval autoPauseInterval autoArchiveInterval \
                    autoDeleteInterval sandboxClass class createdAt updatedAt lastActivityAt runnerId toolboxProxyUrl";
    assert_eq!(keys(&sandbox), expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!((&sandbox["state"], &sandbox["desiredState"]), (&json!("creating"), &json!("started")));
    assert_eq!(sandbox["name"], sandbox["id"]);
    assert_eq!(sandbox["toolboxProxyUrl"], format!("{}/toolbox", server().base_url));
    let defaults = json!({
        "snapshot": "daytona-small", "user": "daytona", "env": {}, "cpu": 1, "gpu": 0, "memory": 1, "disk": 3, "public": false,
        "networkBlockAll": false, "kvm": false, "labels": {}, "volumes": [], "recoverable": false, "backupState": "None",
        "autoStopInterval": 15, "autoArchiveInterval": 10080, "autoDeleteInterval": -1, "target": "us",
    });
    for (name, value) in defaults.as_object().expect("object") {
        assert_eq!(&sandbox[name], value, "{name}");
    }
    let (_, read) = api.get(&format!("/sandbox/{}", id(&sandbox))).await;
    assert_eq!(read["state"], "started", "the answer waits for that");
    for name in ["networkAllowList", "domainAllowList", "errorReason"] {
        assert_eq!(read.get(name), Some(&Value::Null), "{name}");
    }
    assert!(read["daemonVersion"].is_string());
}

#[tokio::test]
async fn what_is_asked_for_comes_back() {
    let api = Api::new().await;
    let asked = json!({
        "name": "mine", "snapshot": "daytona-medium", "env": {"LONG": "1", "A": "2", "B": "x y"}, "labels": {"bb": "1", "a": "2"},
        "public": true, "autoStopInterval": 0, "autoArchiveInterval": 0, "autoDeleteInterval": 7, "target": "us",
        "networkAllowList": "10.0.0.0/8, 1.2.3.4/32", "domainAllowList": "*.example.com", "unknown": [1], "ttlMinutes": 60,
    });
    let sandbox = api.sandbox(asked).await;
    let (_, read) = api.get("/sandbox/mine").await;
    assert_eq!(read["id"], sandbox["id"]);
    assert_eq!(keys(&read["env"]), ["A", "B", "LONG"], "shorter names first");
    assert_eq!(keys(&read["labels"]), ["a", "bb"]);
    assert_eq!((&read["cpu"], &read["memory"], &read["disk"]), (&json!(2), &json!(4), &json!(8)));
    assert_eq!((&read["autoArchiveInterval"], &read["autoStopInterval"]), (&json!(43200), &json!(0)));
    assert_eq!(read["networkAllowList"], "10.0.0.0/8, 1.2.3.4/32");
    assert_eq!(read["public"], true);
    assert!(read["autoDestroyAt"].is_string());
}

#[tokio::test]
async fn values_that_are_no_text_come_back_as_text() {
    let api = Api::new().await;
    let sandbox = api.sandbox(json!({"env": {"N": 1, "T": true}, "labels": {"n": 5}, "name": "", "user": null})).await;
    assert_eq!(sandbox["env"], json!({"N": "1", "T": "true"}));
    assert_eq!(sandbox["labels"], json!({"n": "5"}));
    assert_eq!(sandbox["name"], sandbox["id"]);
}

#[tokio::test]
async fn every_problem_of_the_body_is_told() {
    let api = Api::new().await;
    let unsafe_name = "name must not contain HTML tags, URLs, or control characters";
    let number = "must be a number conforming to the specified constraints";
    for (body, message) in [
        (json!({"name": 5}), format!("{unsafe_name}, name must be a string")),
        (json!({"name": "a<b>c"}), unsafe_name.into()),
        (json!({"name": "http://x"}), unsafe_name.into()),
        (json!({"snapshot": 5}), "snapshot must be a string".into()),
        (json!({"user": 5}), "user must be a string".into()),
        (json!({"env": ["a"]}), "env must be an object".into()),
        (json!({"labels": "x"}), "labels must be an object".into()),
        (json!({"public": "true"}), "public must be a boolean value".into()),
        (json!({"networkBlockAll": 1}), "networkBlockAll must be a boolean value".into()),
        (json!({"networkAllowList": 5}), "networkAllowList must be a string".into()),
        (json!({"target": 5}), "target must be a string".into()),
        (json!({"cpu": "x"}), format!("cpu must not be less than 0, cpu {number}")),
        (json!({"disk": -1}), "disk must not be less than 0".into()),
        (json!({"gpu": 2}), "gpu must not be greater than 1".into()),
        (json!({"autoStopInterval": "x"}), format!("autoStopInterval {number}")),
        (json!({"autoStopInterval": 1.5}), "autoStopInterval must be an integer number".into()),
        (json!({"buildInfo": "x"}), "buildInfo must be an object".into()),
        (json!({"linkedSandbox": 5}), "linkedSandbox must be a string".into()),
        (json!({"outboundProxyUrl": 5}), "outboundProxyUrl must be a string".into()),
        (json!({"otelEndpointOverride": {}}), "otelEndpointOverride must be a string".into()),
        (json!({"spot": "true"}), "spot must be a boolean value".into()),
        (json!({"kvm": "x"}), "kvm must be a boolean value".into()),
        (json!({"spot": true}), "Spot sandboxes must have a GPU".into()),
        (json!({"kvm": true}), "KVM is not available for this organization".into()),
        (json!({"queueTimeout": 1.5}), "queueTimeout must be an integer number".into()),
        (
            json!({"volumes": "x"}),
            "volumes must be an array, each value in nested property volumes must be either object or array".into(),
        ),
        (
            json!({"volumes": [{}]}),
            "volumes.0.volumeId should not be empty, volumes.0.volumeId must be a string, volumes.0.mountPath must be a string"
                .into(),
        ),
        (
            json!({"name": 5, "cpu": "x", "labels": "y"}),
            format!(
                "{unsafe_name}, name must be a string, labels must be an object, cpu must not be less than 0, cpu {number}"
            ),
        ),
    ] {
        api.refused("POST", "/sandbox", body, 400, &message).await;
    }
    assert_eq!(api.get("/sandbox").await.1["items"], json!([]), "a refused request makes nothing");
}

#[tokio::test]
async fn every_rule_has_its_message() {
    let api = Api::new().await;
    let resources = "Cannot specify Sandbox resources when using a snapshot";
    let many = ["10.0.0.0/32"; 11].join(",");
    let domains = ["d.example.com"; 11].join(",");
    for (body, status, message) in [
        (json!({"target": "mars"}), 404, "Region not found"),
        (json!({"snapshot": "x"}), 400, "Snapshot x not found. Did you add it through the Daytona Dashboard?"),
        (json!({"cpu": 1}), 400, resources),
        (json!({"memory": 1.5}), 400, resources),
        (
            json!({"networkAllowList": "1.2.3.4"}),
            400,
            "Invalid network format: \"1.2.3.4\". Missing CIDR prefix length (e.g., /24)",
        ),
        (
            json!({"networkAllowList": "1.2.3.4/33"}),
            400,
            "Invalid CIDR prefix length: 1.2.3.4/33. Prefix must be between 0 and 32",
        ),
        (json!({"networkAllowList": many}), 400, "Network allow list cannot contain more than 10 networks"),
        (json!({"domainAllowList": "a b"}), 400, "Invalid domain: \"a b\". Must be a valid domain name"),
        (json!({"domainAllowList": domains}), 400, "Domain allow list cannot contain more than 10 domains"),
        (json!({"autoStopInterval": -1}), 400, "Auto-stop interval must be non-negative"),
        (json!({"autoArchiveInterval": -1}), 400, "Auto-archive interval must be non-negative"),
        (json!({"volumes": [{"volumeId": "v", "mountPath": "rel"}]}), 404, "Volume 'v' not found"),
        (json!({"linkedSandbox": "x"}), 400, "Linked sandboxes must be ephemeral (set autoDeleteInterval to 0)"),
        (json!({"linkedSandbox": "x", "autoDeleteInterval": 0}), 404, "Sandbox with ID or name x not found"),
        (json!({"buildInfo": {}, "snapshot": "x"}), 400, "Cannot specify a snapshot when using a build info entry"),
        (
            json!({"gpuType": "H100"}),
            400,
            "Cannot specify GPU type when creating sandbox from snapshot. GPU type is inherited from snapshot.",
        ),
        (
            json!({"buildInfo": {"dockerfileContent": "FROM x:1"}, "gpu": 1}),
            400,
            "GPU sandboxes must be ephemeral - set autoDeleteInterval to 0",
        ),
        (
            json!({"buildInfo": {"dockerfileContent": "FROM x:1"}, "gpu": 1, "autoDeleteInterval": 0}),
            400,
            "No available runners",
        ),
        (json!({"outboundProxyUrl": "socks5://p:1"}), 400, "outboundProxyUrl must be a valid http or https URL"),
        (json!({"otelEndpointOverride": "otel"}), 400, "otelEndpointOverride must be a valid http or https URL"),
        (json!({"queueTimeout": 0}), 400, "queueTimeout must not be less than 1"),
        // Nothing could run in there.
        (json!({"env": {"": "x"}}), 400, "invalid environment variable: ''"),
        (json!({"env": {"A": "1", "B=C": "x"}}), 400, "invalid environment variable: 'B=C'"),
        (json!({"env": {"A\0": "x"}}), 400, "invalid environment variable: 'A\0'"),
        (json!({"env": {"A": "x\0y"}}), 400, "invalid environment variable: 'A'"),
        (json!({"env": {"A": "x".repeat(128 << 10)}}), 400, "environment variable 'A' is too long"),
        (json!({"user": "a\0b"}), 400, "user must not contain NUL characters"),
    ] {
        api.refused("POST", "/sandbox", body, status, message).await;
    }
    assert_eq!(api.get("/sandbox").await.1["items"], json!([]), "a refused request makes nothing");
}

#[tokio::test]
async fn of_parallel_creations_of_one_name_one_succeeds() {
    let api = Api::new().await;
    let all = (0..6).map(|_| api.post("/sandbox", json!({"name": "one"})));
    let mut answers = futures_util::future::join_all(all).await;
    answers.sort_by_key(|(status, _)| *status);
    assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 409, 409, 409, 409, 409]);
    assert_eq!(answers[1].1["message"], "Sandbox with name one already exists");
}

#[tokio::test]
async fn ways_out_are_told_and_are_variables_inside() {
    let api = Api::new().await;
    let (proxy, collector) = ("http://user:pass@proxy.example.com:3128", "https://otel.example.com:4318");
    let asked = json!({
        "outboundProxyUrl": proxy, "otelEndpointOverride": collector, "queueTimeout": 5, "spot": false, "kvm": false,
        "env": {"https_proxy": "http://own:1"},
    });
    let sandbox = api.sandbox(asked).await;
    let (_, read) = api.get(&format!("/sandbox/{}", id(&sandbox))).await;
    for answer in [&sandbox, &read] {
        assert_eq!((&answer["outboundProxyUrl"], &answer["otelEndpointOverride"]), (&json!(proxy), &json!(collector)));
        assert_eq!(answer["queueTimeout"], 5);
    }
    let output = environment(&api, &sandbox).await;
    for (name, value) in [
        ("HTTP_PROXY", proxy),
        ("http_proxy", proxy),
        ("HTTPS_PROXY", proxy),
        ("https_proxy", "http://own:1"),
        ("DAYTONA_OTEL_ENDPOINT", collector),
    ] {
        let line = format!("{name}={value}");
        assert!(output.lines().any(|own| own == line), "{line} in {output}");
    }
    let item = &api.get("/sandbox").await.1["items"][0];
    assert!(item.get("outboundProxyUrl").is_none() && item.get("otelEndpointOverride").is_none(), "never in lists");
    assert_eq!(item["queueTimeout"], 5);
}

/// What `env` prints inside.
async fn environment(api: &Api, sandbox: &Value) -> String {
    let url = format!("{}/toolbox/{}/process/execute", server().base_url, id(sandbox));
    let run = api.client.post(url).bearer_auth(&api.key).json(&json!({"command": "env"})).send().await.expect("answer");
    let output: Value = run.json().await.expect("JSON");
    output["result"].as_str().expect("text").to_owned()
}

#[tokio::test]
async fn home_is_what_the_environment_says() {
    if !has_images() {
        return;
    }
    let api = Api::new().await;
    let sandbox = api.sandbox(json!({"env": {"HOME": "/tmp", "ODD NAME.1": "one\ntwo"}})).await;
    let output = environment(&api, &sandbox).await;
    assert!(output.contains("ODD NAME.1=one\ntwo\n") && output.lines().any(|line| line == "HOME=/tmp"), "{output}");
    let toolbox = Api { url: format!("{}/toolbox/{}", server().base_url, id(&sandbox)), ..api };
    assert_eq!(toolbox.get("/user-home-dir").await, (200, json!({"dir": "/tmp"})));
    let (status, made) = toolbox.post("/process/session", json!({"sessionId": "one"})).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn the_environment_inside() {
    let api = Api::new().await;
    let sandbox = api.sandbox(json!({"env": {"OWN": "value", "DAYTONA_SANDBOX_ID": "forged"}})).await;
    let output = environment(&api, &sandbox).await;
    let organization = sandbox["organizationId"].as_str().expect("text");
    for line in [
        "OWN=value".to_owned(),
        format!("DAYTONA_SANDBOX_ID={}", id(&sandbox)),
        "DAYTONA_SANDBOX_SNAPSHOT=daytona-small".to_owned(),
        "DAYTONA_SANDBOX_USER=daytona".to_owned(),
        format!("DAYTONA_ORGANIZATION_ID={organization}"),
        "DAYTONA_REGION_ID=us".to_owned(),
    ] {
        assert!(output.lines().any(|own| own == line), "{line} in {output}");
    }
}
