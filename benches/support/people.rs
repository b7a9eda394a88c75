//! People to measure with: registered, proven, signed in.

use reqwest::Client;
use serde_json::{Value, json};

use super::gateway::Gateway;

/// Good in every profile.
pub(crate) const PASSWORD: &str = "quartz lantern 42 drifting";

/// Someone with an address and a device.
pub(crate) struct Person {
    pub(crate) email: String,
    pub(crate) device_token: String,
}

/// Registers an address under `tenant` (a path prefix, or nothing for the default tenant).
pub(crate) async fn register_email(gateway: &Gateway, http: &Client, tenant: &str, email: &str) -> Person {
    let body = json!({ "username": "bench", "email": email, "password": PASSWORD, "phoneNumber": "123456789" });
    let reply = gateway.post(http, &format!("{tenant}/api/auth/register"), &body).send().await.unwrap();
    assert_eq!(reply.status(), 201, "register {email}");
    let reply: Value = reply.json().await.unwrap();
    Person { email: email.to_owned(), device_token: reply["device_token"].as_str().unwrap().to_owned() }
}

/// Proves an address with the link that was mailed last.
pub(crate) async fn prove_email(gateway: &Gateway, http: &Client, email: &str) {
    let token = gateway.mailbox.link_token(email);
    let reply = gateway.get(http, &format!("/api/auth/verify/{token}")).send().await.unwrap();
    assert_eq!(reply.status(), 200, "verify {email}");
}

/// Proves a number with a code, and gives what registers it.
pub(crate) async fn prove_phone(gateway: &Gateway, http: &Client, phone: &str) -> Value {
    let sent = gateway.post(http, "/auth/request-code", &json!({ "phone": phone })).send().await.unwrap();
    assert_eq!(sent.status(), 200, "request-code {phone}");
    let answer = json!({ "phone": phone, "code": gateway.mailbox.code(phone) });
    let proven = gateway.post(http, "/auth/verify-code", &answer).send().await.unwrap();
    proven.json::<Value>().await.unwrap()["registration_token"].take()
}

/// Registers a number.
pub(crate) async fn register_phone(gateway: &Gateway, http: &Client, phone: &str) {
    let token = prove_phone(gateway, http, phone).await;
    let body = json!({ "phone": phone, "first_name": "Awa", "last_name": "Diop", "registration_token": token });
    let reply = gateway.post(http, "/auth/register", &body).send().await.unwrap();
    assert_eq!(reply.status(), 201, "register {phone}");
}

/// A Senegalese mobile number.
pub(crate) fn phone(n: u32) -> String {
    format!("+22177{n:07}")
}
