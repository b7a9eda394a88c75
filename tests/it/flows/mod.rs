//! Stories of people signing in, told over real HTTP against the whole gateway, on each back end.
//!
//! One promise of the contract each, named as a sentence. A story reads top to bottom; what many
//! of them begin with stands here.

// The lints know a helper for a test's by this.
#![cfg(test)]

mod account_enumeration;
mod apps;
mod bad_input;
mod contact_change;
mod cross_origin;
mod drain_and_restart;
mod email_sign_in;
mod erasure;
mod key_rotation;
mod locales;
mod lockout;
mod new_device;
mod new_device_notice;
mod own_words;
mod password_change;
mod password_reset;
mod phone_sign_in;
mod registration_grant;
pub(crate) mod secrets;
mod sessions_and_devices;
mod sms_pumping;
mod tenant_isolation;
mod test_identities;
mod token_cookie;
mod token_rotation;
mod unlock_link;
mod verification_links;

use std::time::Duration;

use serde_json::json;

use crate::harness::client::{Answer, Door};

pub(crate) const AWA: &str = "awa@example.com";
pub(crate) const NUMBER: &str = "+221771234567";
pub(crate) const OTHER_NUMBER: &str = "+221771234568";
/// Long and odd enough for every profile.
pub(crate) const PASSWORD: &str = "seven green kettles sing at noon";
pub(crate) const NEW_PASSWORD: &str = "nine grey herons sleep till dawn";
pub(crate) const HOME: [u8; 4] = [127, 0, 0, 1];
/// Another network than `HOME`, by the first 24 bits.
pub(crate) const FAR_AWAY: [u8; 4] = [127, 9, 9, 9];

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// What a sign-in gave.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// The device token, if trust was given by this sign-in.
    pub(crate) device: Option<String>,
}

impl From<&Answer> for Tokens {
    fn from(answer: &Answer) -> Self {
        Self {
            access: answer.word("token"),
            refresh: answer.word("refresh_token"),
            device: answer["device_token"].as_str().map(str::to_owned),
        }
    }
}

/// Registers from Firefox; the answer.
pub(crate) async fn register(door: Door<'_>, email: &str) -> Answer {
    let body = json!({"username": "awa", "email": email, "password": PASSWORD, "phoneNumber": "123456789"});
    door.post("/api/auth/register", &body).from("Firefox").await
}

/// A person with a proven address, who registered from Firefox; the device token.
pub(crate) async fn a_person(door: Door<'_>, email: &str) -> String {
    let device = register(door, email).await.expect(201).word("device_token");
    let link = door.gateway().inbox.next_with(email, "/verify/").await.link();
    door.gateway().classic().call(http::Method::POST, &link).await.expect(200);
    device
}

/// The password step, from nowhere in particular.
pub(crate) async fn log_in(door: Door<'_>, email: &str, password: &str) -> Answer {
    door.post("/api/auth/login", &json!({"email": email, "password": password})).await
}

/// The password step on a device that is trusted already.
pub(crate) async fn sign_in(door: Door<'_>, email: &str, device: &str) -> Tokens {
    let body = json!({"email": email, "password": PASSWORD});
    Tokens::from(&door.post("/api/auth/login", &body).device(device).await.expect(200))
}

/// A wrong password from nobody's device.
pub(crate) async fn fail(door: Door<'_>, email: &str) -> Answer {
    log_in(door, email, "not the password").await
}

/// Wrong passwords until strangers are locked out.
pub(crate) async fn lock(door: Door<'_>, email: &str) {
    for _ in 0..5 {
        fail(door, email).await;
    }
}

/// Asks for a code and reads it.
pub(crate) async fn request_code(door: Door<'_>, phone: &str, length: usize) -> String {
    door.post("/auth/request-code", &json!({"phone": phone})).await.expect(200);
    door.gateway().inbox.next(phone).await.code(length)
}

pub(crate) async fn verify_code(door: Door<'_>, phone: &str, code: &str) -> Answer {
    door.post("/auth/verify-code", &json!({"phone": phone, "code": code})).await
}

/// Another code of the same length.
pub(crate) fn wrong(code: &str) -> String {
    let last = if code.ends_with('7') { "8" } else { "7" };
    format!("{}{last}", &code[..code.len() - 1])
}

/// A person with a proven number, signed in.
pub(crate) async fn a_phone_person(door: Door<'_>, phone: &str, code_length: usize) -> Tokens {
    let code = request_code(door, phone, code_length).await;
    let proof = verify_code(door, phone, &code).await.expect(200).word("registration_token");
    let body = json!({"phone": phone, "first_name": "Awa", "last_name": "Diop", "registration_token": proof});
    Tokens::from(&door.post("/auth/register", &body).await.expect(201))
}

/// Is this access token good?
pub(crate) async fn is_good(door: Door<'_>, access: &str) -> bool {
    let answer = door.get("/api/auth/me").bearer(access).await;
    if answer.status == 200 {
        return true;
    }
    answer.refused(401, "invalid_token");
    false
}

pub(crate) async fn refresh(door: Door<'_>, token: &str) -> Answer {
    door.post("/api/auth/refresh", &json!({"refresh_token": token})).await
}
