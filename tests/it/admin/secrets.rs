//! Canary credentials, keys and app secrets: given once, found nowhere.

use serde_json::json;

use super::key_of;
use crate::flows::secrets::{hex, holds};
use crate::harness::gateway::{Gateway, ROOT_KEY, logs, on_every_back_end};

on_every_back_end!(no_credential_is_found_in_any_answer_log_or_dump);

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
            {"kind": "http", "url": "https://sms.a.test/", "headers": {"Authorization": header}}]},
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
    for path in ["/metrics", "/openapi.json", "/docs"] {
        let text = reqwest::get(gateway.admin_url(path)).await.unwrap().text().await.unwrap();
        assert!(canaries.iter().all(|canary| !text.contains(canary)), "{path}");
    }

    let secrets: Vec<_> = canaries.iter().map(|canary| (*canary).to_owned()).chain([key, app.word("secret")]).collect();
    let logged = logs().lock().unwrap().clone();
    let (tables, kept) = (gateway.tables().await, gateway.kept_bytes().await);
    assert!(!logged.is_empty() && tables.iter().any(|(table, _)| table == "settings_versions"));
    for secret in &secrets {
        for answer in &answers {
            assert!(!answer.text.contains(secret.as_str()), "{secret} is in {}", answer.text);
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
