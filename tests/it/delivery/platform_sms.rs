//! The operator's SMS providers: set in the configuration of the process, used by tenants whose mode is
//! `platform`, and by nobody else.

use reqwest::Method;
use serde_json::{Value, json};

use super::provider::{Asked, Provider, answer};
use crate::harness::node::{Message, Node, PATIENCE, POLL, Settings, answer as answer_of};
use crate::nodes::{answer_code, verify_address};

const ROOT_KEY: &str = "gk_root_of-an-operator-long-enough";
const NUMBER: &str = "+221771234567";
const CANARY: &str = "canary-of-the-platform";

fn taking(asked: &Asked) -> super::provider::Reply {
    answer(200, &json!({"id": asked.json()["to"]}).to_string())
}

fn provider(name: &str, provider: &Provider) -> Value {
    json!({"kind": "http", "name": name, "url": provider.url(), "headers": {"Authorization": CANARY},
           "body": {"to": "{to}", "text": "{text}", "code": "{code}"}})
}

fn settings(providers: &[Value]) -> Settings {
    let settings = Settings::embedded().with("GUICHET__DELIVERY__SMS", json!(providers).to_string());
    settings.with("GUICHET_ADMIN_KEY", ROOT_KEY).with("GUICHET_OUTBOUND_ALLOW", "127.0.0.0/8")
}

/// Asks for a code and waits until the provider was given it.
async fn texted(node: &Node, path: &str, provider: &Provider, phone: &str) -> String {
    node.post(path, &json!({ "phone": phone })).await.must_be(200);
    let code = || {
        let asked = provider.asked();
        let told = asked.iter().map(Asked::json).rfind(|told| told["to"] == phone)?;
        told["code"].as_str().map(str::to_owned)
    };
    let given = async {
        while code().is_none() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, given).await.expect("the provider is asked");
    code().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_leave_through_the_operators_providers_in_their_order() {
    let (first, second) = (Provider::always(answer(400, "{}")).await, Provider::start(taking).await);
    let node = Node::spawn(&settings(&[provider("main", &first), provider("spare", &second)])).await;

    let code = texted(&node, "/auth/request-code", &second, NUMBER).await;

    answer_code(&node, NUMBER, &code).await.must_be(200);
    assert_eq!(second.only().header("authorization"), CANARY);
    assert_eq!(first.only().json(), second.only().json());
    assert!(node.messages(NUMBER).is_empty(), "the console is for mail alone");
    let log = node.administer(Method::GET, "/tenants/default/messages", ROOT_KEY, &json!({})).await.must_be(200);
    let told: Vec<_> =
        log.json["items"].as_array().unwrap().iter().map(|row| (&row["sender"], &row["state"])).collect();
    assert_eq!(told, [(&json!("spare"), &json!("accepted")), (&json!("main"), &json!("refused"))]);
    assert!(!log.json.to_string().contains(CANARY) && !node.log().contains(CANARY));
    // Mail takes its own way still.
    let registered = json!({"username": "Awa", "email": "awa@example.com", "password": "correct horse battery"});
    node.post("/api/auth/register", &registered).await.must_be(201);
    node.message("awa@example.com").await;

    let shown = node.command(&["check-config"]);
    assert!(shown.contains("[REDACTED]") && shown.contains(&first.url()) && !shown.contains(CANARY), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_senders_of_its_own_does_not_use_the_operators() {
    let (platform, own) = (Provider::start(taking).await, Provider::start(taking).await);
    let node = Node::spawn(&settings(&[provider("main", &platform)])).await;
    let made = json!({"slug": "acme", "profile": "classic"});
    node.administer(Method::POST, "/tenants", ROOT_KEY, &made).await.must_be(201);
    texted(&node, "/t/acme/auth/request-code", &platform, NUMBER).await;

    let senders = json!({"sms": {"mode": "own", "senders": [provider("mine", &own)]}});
    node.administer(Method::PATCH, "/tenants/acme/settings", ROOT_KEY, &senders).await.must_be(200);
    texted(&node, "/t/acme/auth/request-code", &own, "+221771234568").await;

    assert_eq!((platform.asked().len(), own.asked().len()), (1, 1));
    // *Send test* tries what is in force.
    let test = json!({"to": NUMBER, "settings": {"sms": {"mode": "platform"}}});
    let test = node.administer(Method::POST, "/tenants/acme/sms/test", ROOT_KEY, &test).await.must_be(200);
    assert_eq!((test.text("stage"), test.text("sender")), ("accepted".to_owned(), "main".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_providers_that_could_never_send_is_refused_with_all_that_is_wrong() {
    let incomplete = [
        json!({"kind": "twilio", "account_sid": "AC1", "timeout": 0}),
        json!({"kind": "vonage", "name": "twilio", "api_key": CANARY, "from": "Acme"}),
    ];
    let unfit = [
        json!({"kind": "http", "url": "http://sms.example.com/"}),
        json!({"kind": "twilio", "account_sid": "nonsense", "auth_token": CANARY, "from": "+15005550006"}),
        json!({"kind": "http", "name": "mute", "url": "https://sms.example.com/", "body": {"text": "{text}"}}),
    ];
    for (providers, wrong) in [
        (
            &incomplete[..],
            vec![
                "delivery.sms[0].auth_token: kind twilio needs it",
                "delivery.sms[0].from: kind twilio needs it",
                "delivery.sms[0].timeout: must be from 1 to 60",
                "delivery.sms[1].api_secret: kind vonage needs it",
                "delivery.sms[1].name: another sender has that name",
            ],
        ),
        (
            &unfit[..],
            vec![
                "delivery.sms[0].url: cannot be used (encryption_required)",
                "delivery.sms[1].account_sid: cannot be used (malformed)",
                "delivery.sms[2]: must have `{to}` or `{to_digits}` in its url, headers or body",
            ],
        ),
    ] {
        let ended = Node::try_spawn(&settings(providers).without("GUICHET_OUTBOUND_ALLOW")).await.err().unwrap();
        assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
        for line in wrong {
            assert!(ended.stderr.contains(line), "{line}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_mailbox_hears_of_a_device_that_a_texted_code_let_in() {
    let provider_of_texts = Provider::start(taking).await;
    let node = Node::spawn(&settings(&[provider("main", &provider_of_texts)])).await;
    let registered = json!({"username": "Awa", "email": "awa@example.com", "password": "correct horse battery"});
    let registered = node.post("/api/auth/register", &registered).await.must_be(201);
    verify_address(&node, &node.message("awa@example.com").await).await;
    let login = json!({"email": "awa@example.com", "password": "correct horse battery"});
    let login = node
        .request(Method::POST, "/api/auth/login")
        .header("x-device-id", registered.text("device_token"))
        .json(&login);
    let token = answer_of(login).await.must_be(200).text("token");
    let change = async |path: &str, body: Value| {
        answer_of(node.request(Method::POST, path).bearer_auth(&token).json(&body)).await.must_be(200)
    };
    change("/api/auth/contact/change", json!({"phone": NUMBER})).await;
    let asked = || provider_of_texts.asked().iter().find_map(|asked| asked.json()["code"].as_str().map(str::to_owned));
    let given = async {
        while asked().is_none() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, given).await.expect("a code is texted");
    change("/api/auth/contact/confirm", json!({"phone": NUMBER, "code": asked().unwrap()})).await;

    let sign_in_code = texted_again(&node, &provider_of_texts).await;
    answer_code(&node, NUMBER, &sign_in_code).await.must_be(200);

    let told = |messages: Vec<Message>| messages.iter().any(|mail| mail.text.contains("A device that was not known"));
    let mailed = async {
        while !told(node.messages("awa@example.com")) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, mailed).await.expect("the mailbox hears of it");
}

/// The code of a sign-in, which is another one than that of the change before it.
async fn texted_again(node: &Node, provider: &Provider) -> String {
    let codes = || -> Vec<String> {
        let asked = provider.asked();
        asked.iter().filter_map(|asked| asked.json()["code"].as_str().map(str::to_owned)).collect()
    };
    let before = codes().len();
    node.post("/auth/request-code", &json!({ "phone": NUMBER })).await.must_be(200);
    let given = async {
        while codes().len() == before {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, given).await.expect("another code is texted");
    codes().pop().unwrap()
}
