//! Canary credentials, keys and app secrets: given once, found nowhere.

use serde_json::{Value, json};

use super::key_of;
use crate::delivery::mail_server::MailServer;
use crate::delivery::provider::{Asked, Provider, Reply, answer};
use crate::flows::secrets::{hex, holds};
use crate::harness::client::Answer;
use crate::harness::gateway::{Gateway, ROOT_KEY, logs, on_every_back_end};

on_every_back_end!(
    no_credential_is_found_in_any_answer_log_or_dump,
    a_test_of_a_draft_repeats_neither_its_credentials_nor_what_a_provider_says,
);

async fn no_credential_is_found_in_any_answer_log_or_dump(gateway: Gateway) {
    let canaries = ["canary-mail-password", "canary-twilio-token", "canary-header-value", "canary-of-a-refused-draft"];
    let [mail, twilio, header, draft] = canaries;
    let key = key_of(&gateway, "strict", "tenant-admin").await;
    let admin = gateway.admin();
    let app = json!({"name": "a", "audience": "a"});
    let app = admin.post("/tenants/strict/apps", &app).bearer(&key).await.expect(201);
    let document = json!({
        "email": {"mode": "own", "senders": [
            {"host": "mail.a.test", "port": 587, "security": "starttls", "username": "u", "password": mail, "from": "a@a.test"}]},
        "sms": {"mode": "own", "senders": [
            {"kind": "twilio", "account_sid": "AC0123456789abcdef0123456789abcdef", "auth_token": twilio, "from": "+15005550006"},
            {"kind": "http", "url": "https://sms.a.test/", "headers": {"Authorization": header},
             "body": {"to": "{to}", "text": "{text}"}}]},
    });
    let mut answers = vec![admin.patch("/tenants/strict/settings", &document).bearer(&key).await.expect(200)];
    let refused = json!({"email": {"senders": [{"host": "", "port": 1, "security": "tls", "username": "u", "password": draft, "from": "x"}]}});
    answers.push(admin.patch("/tenants/strict/settings", &refused).bearer(&key).await.refused(400, "validation"));
    let forged = json!({"sms": {"senders": [{"kind": draft, "auth_token": [draft]}]}});
    answers.push(admin.patch("/tenants/strict/settings", &forged).bearer(&key).await.refused(400, "validation"));
    answers
        .push(admin.post("/tenants/strict/settings/rollback", &json!({"version": 1})).bearer(&key).await.expect(200));
    answers
        .push(admin.post("/tenants/strict/settings/rollback", &json!({"version": 2})).bearer(&key).await.expect(200));
    for path in ["", "/settings", "/settings/versions", "/keys", "/apps"] {
        answers.push(admin.get(&format!("/tenants/strict{path}")).bearer(&key).await.expect(200));
    }
    answers.push(admin.get("/tenants").bearer(ROOT_KEY).await.expect(200));
    let secrets: Vec<_> = canaries.iter().map(|canary| (*canary).to_owned()).chain([key, app.word("secret")]).collect();
    nowhere(&gateway, &secrets, &answers).await;
    assert!(gateway.tables().await.iter().any(|(table, _)| table == "settings_versions"));
}

/// None of it is in an answer, on a page for operators, in the log, in a row or in whatever is kept.
async fn nowhere(gateway: &Gateway, secrets: &[String], answers: &[Answer]) {
    let mut told: Vec<_> = answers.iter().map(|answer| answer.text.clone()).collect();
    for path in ["/metrics", "/openapi.json", "/docs"] {
        told.push(reqwest::get(gateway.admin_url(path)).await.unwrap().text().await.unwrap());
    }
    let logged = logs().lock().unwrap().clone();
    let (tables, kept) = (gateway.tables().await, gateway.kept_bytes().await);
    assert!(!logged.is_empty() && !tables.is_empty());
    for secret in secrets {
        for text in &told {
            assert!(!text.contains(secret.as_str()), "{secret} is in {text}");
        }
        for answer in answers {
            assert!(!answer.text.contains("sealed"), "{}", answer.text);
        }
        assert!(!holds(&logged, secret), "{secret} is in the log");
        assert!(!holds(&kept, secret), "{secret} is kept");
        for (table, row) in &tables {
            let row = row.to_ascii_lowercase();
            assert!(
                !row.contains(&secret.to_ascii_lowercase()) && !row.contains(&hex(secret)),
                "{secret} is in {table}"
            );
        }
    }
}

/// Says in every place of an answer what it was told and what it made of it.
fn talkative(status: u16) -> impl Fn(&Asked) -> Reply {
    move |asked| {
        let said = format!("canary-said {} {}", asked.header("authorization"), asked.header("x-api-key"));
        answer(status, &json!({"id": said, "code": said, "error": said, "message": said, "sid": said}).to_string())
    }
}

async fn a_test_of_a_draft_repeats_neither_its_credentials_nor_what_a_provider_says(gateway: Gateway) {
    let canaries = ["canary-header", "canary-token", "canary-password", "canary-said", "canary-of-no-use"];
    let [header, token, password, said, refused] = canaries;
    let key = key_of(&gateway, "other", "tenant-admin").await;
    let (taking, refusing) = (Provider::start(talkative(200)).await, Provider::start(talkative(400)).await);
    let mute = Provider::always(Reply::Half).await;
    let picky = MailServer::start(&["--login", "tenant:another password"]);
    let login = format!("tenant:{password}");
    let talkative = MailServer::start(&["--login", &login, "--refuse", &format!("rcpt=550 {said} {password}")]);
    let test = async |path: &str, to: &str, settings: Value| {
        let body = json!({"to": to, "settings": settings});
        gateway.admin().post(&format!("/tenants/other/{path}/test"), &body).bearer(&key).await
    };
    let mut answers = Vec::new();
    let (number, address) = ("+221776543211", "canary-of-a-test@example.com");

    for provider in [&taking, &refusing, &mute] {
        let sender = |kind: Value| json!({"sms": {"mode": "own", "senders": [kind]}});
        let http = json!({"kind": "http", "url": provider.url(), "headers": {"Authorization": header},
                          "body": {"to": "{to}", "text": "{text}"}, "success": {"reference": "/id"}});
        let twilio = json!({"kind": "twilio", "account_sid": "AC0123456789abcdef0123456789abcdef",
                            "auth_token": token, "from": "+15005550006", "base_url": provider.url()});
        for draft in [http, twilio] {
            answers.push(test("sms", number, sender(draft)).await.expect(200));
        }
    }
    for port in [picky.port, talkative.port] {
        let draft = json!([{"host": "127.0.0.1", "port": port, "security": "none", "username": "tenant",
                            "password": password, "from": "no-reply@acme.test"}]);
        answers.push(test("email", address, json!({"email": {"mode": "own", "senders": draft}})).await.expect(200));
    }
    let unfit = json!({"sms": {"senders": [{"kind": "http", "url": format!("ftp://me:{refused}@a.test/"),
                                            "headers": {"X-Api-Key": refused}}]}});
    answers.push(test("sms", number, unfit).await.refused(400, "validation"));

    assert_eq!(taking.asked().len() + refusing.asked().len(), 4, "the drafts were tried");
    let stages: Vec<_> = answers.iter().map(|answer| answer["stage"].clone()).collect();
    assert_eq!((&stages[6], &stages[7]), (&json!("auth"), &json!("recipient")), "{stages:?}");
    gateway.audited("senders_tested", 8).await;
    let mut secrets: Vec<_> = canaries.iter().map(|canary| (*canary).to_owned()).collect();
    secrets.extend([number.to_owned(), address.to_owned()]);
    nowhere(&gateway, &secrets, &answers).await;
}
