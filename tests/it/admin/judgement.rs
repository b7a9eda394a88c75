//! What can be known to fail is refused when settings are saved, each fault by its path.

use serde_json::{Value, json};

use super::key_of;
use crate::delivery::outbound::HOSTILE_HOSTS;
use crate::harness::client::Answer;
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    no_hostile_host_is_saved,
    a_sender_that_could_never_send_is_not_saved,
    a_text_without_its_code_is_not_saved,
    somebodys_contact_is_no_test_identity,
    what_stands_already_keeps_nobody_from_changing_something_else,
);

async fn patch(gateway: &Gateway, body: &Value) -> Answer {
    gateway.admin().patch("/tenants/other/settings", body).bearer(ROOT_KEY).await
}

/// Pointers and codes of what is refused.
fn faults(answer: &Answer) -> Vec<(String, String)> {
    let word = |fault: &Value, member: &str| fault[member].as_str().unwrap().to_owned();
    let faults = answer["errors"].as_array().unwrap();
    faults.iter().map(|fault| (word(fault, "pointer"), word(fault, "code"))).collect()
}

fn smtp(host: &str, port: u16, security: &str) -> Value {
    json!({"email": {"mode": "own", "senders": [{"host": host, "port": port, "security": security, "from": "a@b.test"}]}})
}

fn http(url: &str) -> Value {
    http_with(url, &json!({"to": "{to}", "text": "{text}"}))
}

fn http_with(url: &str, body: &Value) -> Value {
    json!({"sms": {"mode": "own", "senders": [{"kind": "http", "url": url, "body": body}]}})
}

async fn no_hostile_host_is_saved(gateway: Gateway) {
    let gateway = gateway.restart(|config| config.outbound.allow.clear()).await;
    assert!(HOSTILE_HOSTS.len() >= 40);
    let refusals = ["host_refused", "host_malformed", "credentials_in_url"];
    for host in HOSTILE_HOSTS {
        // An address of the sixth version stands in brackets in a URL alone.
        let bare = host.trim_matches(['[', ']']);
        for (body, pointer) in [
            (smtp(bare, 587, "tls"), "/email/senders/0/host"),
            (http(&format!("https://{host}/send")), "/sms/senders/0/url"),
        ] {
            let refused = patch(&gateway, &body).await.refused(400, "validation");
            let faults = faults(&refused);
            assert!(faults.iter().all(|(named, _)| named == pointer), "{host}: {}", refused.text);
            assert!(faults.iter().any(|(_, code)| refusals.contains(&code.as_str())), "{host}: {}", refused.text);
        }
    }
    let infobip =
        json!({"sms": {"senders": [{"kind": "infobip", "base_url": "https://10.0.0.1", "api_key": "k", "from": "A"}]}});
    let refused = patch(&gateway, &infobip).await.refused(400, "validation");
    assert_eq!(faults(&refused), [("/sms/senders/0/base_url".to_owned(), "host_refused".to_owned())]);
}

async fn a_sender_that_could_never_send_is_not_saved(gateway: Gateway) {
    // With a list of what is allowed, a name is judged by its addresses, when it is used.
    let gateway = gateway.restart(|config| config.outbound.allow.clear()).await;
    let twilio = json!({"kind": "twilio", "account_sid": "nonsense", "auth_token": "t", "from": "+15005550006"});
    for (body, pointer, code) in [
        (smtp("mail.a.test", 25, "tls"), "/email/senders/0/port", "port_refused"),
        (smtp("mail.a.test", 587, "none"), "/email/senders/0/security", "encryption_required"),
        (http("http://sms.a.test/"), "/sms/senders/0/url", "encryption_required"),
        (http("https://sms.a.test:8443/"), "/sms/senders/0/url", "port_refused"),
        (http("https://me:secret@sms.a.test/"), "/sms/senders/0/url", "credentials_in_url"),
        (http("ftp://sms.a.test/"), "/sms/senders/0/url", "scheme_refused"),
        (json!({"sms": {"senders": [twilio]}}), "/sms/senders/0/account_sid", "malformed"),
        (
            json!({"sms": {"senders": [{"kind": "http", "url": "https://a.test/", "method": "DELETE"}]}}),
            "/sms/senders/0/method",
            "method_unknown",
        ),
        (http_with("https://sms.a.test/", &json!({"text": "{text}"})), "/sms/senders/0", "number_missing"),
        (http_with("https://sms.a.test/{to}", &json!({"id": "{reference}"})), "/sms/senders/0", "text_missing"),
    ] {
        let refused = patch(&gateway, &body).await.refused(400, "validation");
        assert_eq!(faults(&refused), [(pointer.to_owned(), code.to_owned())], "{}", refused.text);
        assert!(!refused.text.contains("secret"), "{}", refused.text);
    }
    let refused = patch(&gateway, &http_with("https://sms.a.test/", &Value::Null)).await;
    let why = "sms.senders[0]: must have `{to}` or `{to_digits}` in its url, headers or body";
    assert_eq!(refused["errors"][0]["message"], why);
    patch(&gateway, &http_with("https://sms.a.test/{to_digits}", &json!([{"code": "{code}"}]))).await.expect(200);
}

async fn a_text_without_its_code_is_not_saved(gateway: Gateway) {
    let text = |sms: &str| json!({"templates": {"sign_in_code": {"fr": {"sms": sms}}}});
    for bad in ["Votre code est {{ cod }}.", "Bonjour.", "{{ code"] {
        let refused = patch(&gateway, &text(bad)).await.refused(400, "validation");
        assert_eq!(faults(&refused)[0].0, "/templates/sign_in_code/fr/sms", "{bad}: {}", refused.text);
    }
    patch(&gateway, &text("Votre code {{ tenant }} est {{ code }}.")).await.expect(200);
    // An earlier text is judged again with a later name, whose digits would pass for the code.
    let renamed = gateway.admin().patch("/tenants/other", &json!({"name": "Salon 48291"})).bearer(ROOT_KEY).await;
    assert_eq!(faults(&renamed.refused(400, "validation"))[0].0, "/templates/sign_in_code/fr/sms");
}

async fn somebodys_contact_is_no_test_identity(gateway: Gateway) {
    let people = "/tenants/other/users";
    let invited = json!({"email": "awa@example.com"});
    gateway.admin().post(people, &invited).bearer(ROOT_KEY).await.expect(201);
    let identities = |contacts: &[&str]| {
        let one = |contact: &&str| json!({"email": contact, "code": "123456"});
        json!({"test_identities": contacts.iter().map(one).collect::<Vec<_>>()})
    };

    let refused = patch(&gateway, &identities(&["free@example.com", "Awa@Example.com"])).await;
    assert_eq!(faults(&refused.refused(400, "validation")), [("/test_identities/1".to_owned(), "invalid".to_owned())]);
    patch(&gateway, &identities(&["free@example.com"])).await.expect(200);

    // Its fixed code opens an account: who may not set it does not see it.
    for (role, sees) in [("tenant-admin", true), ("tenant-support", false)] {
        let key = key_of(&gateway, "other", role).await;
        let shown = gateway.admin().get("/tenants/other/settings").bearer(&key).await.expect(200);
        assert_eq!(shown.text.contains("123456"), sees, "{role}");
    }
}

async fn what_stands_already_keeps_nobody_from_changing_something_else(gateway: Gateway) {
    patch(&gateway, &smtp("127.0.0.1", 2500, "none")).await.expect(200);
    patch(&gateway, &json!({"test_identities": [{"email": "awa@example.com", "code": "123456"}]})).await.expect(200);
    let invited = json!({"email": "awa@example.com"});
    gateway.admin().post("/tenants/other/users", &invited).bearer(ROOT_KEY).await.expect(201);
    let gateway = gateway.restart(|config| config.outbound.allow.clear()).await;

    patch(&gateway, &json!({"lockout": {"threshold": 3}})).await.expect(200);
    let refused = patch(&gateway, &smtp("127.0.0.1", 2501, "none")).await.refused(400, "validation");
    assert_eq!(faults(&refused).len(), 1, "{}", refused.text);
    // Nor does the mail server keep anybody from bringing a provider, or the other way round.
    patch(&gateway, &http("https://sms.a.test/send")).await.expect(200);
    let refused = patch(&gateway, &http("http://sms.a.test/send")).await.refused(400, "validation");
    assert_eq!(faults(&refused), [("/sms/senders/0/url".to_owned(), "encryption_required".to_owned())]);
    // What could be saved once is judged anew when it comes back.
    patch(&gateway, &json!({"email": null, "test_identities": null})).await.expect(200);
    let back = gateway.admin().post("/tenants/other/settings/rollback", &json!({"version": 3})).bearer(ROOT_KEY).await;
    let named: Vec<_> = faults(&back.refused(400, "validation")).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named[0].starts_with("/email/senders/0/") && named[1] == "/test_identities/0", "{named:?}");
}
