//! Erasing a person: afterwards nothing that was sent leads to them, whoever erased them.

use guichet::crypto::digest::{Digests, MasterKey};
use guichet::domain::contact::{Contact, ContactKind};
use guichet::domain::ids::TenantId;
use http::Method;
use serde_json::{Value, json};

use super::secrets::hex;
use super::{AWA, NUMBER, OTHER_NUMBER, PASSWORD, Tokens, a_person, seconds, sign_in};
use crate::delivery::provider::{Asked, Provider, answer};
use crate::harness::client::Door;
use crate::harness::gateway::{Gateway, MASTER_KEY, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    what_was_sent_to_a_person_who_erases_themselves_is_forgotten,
    what_was_sent_to_a_person_whom_an_admin_erases_is_forgotten,
    a_change_to_somebody_s_contact_takes_none_of_theirs_along,
);

const BINTA: &str = "+221771234569";
const NEW_ADDRESS: &str = "awa.diop@example.com";

/// A tenant whose provider calls every message by its number.
async fn acme(gateway: &Gateway, profile: &str) -> (TenantId, Provider) {
    let provider = Provider::start(|asked: &Asked| answer(200, &json!({"id": asked.json()["to"]}).to_string())).await;
    let made = json!({"slug": "acme", "profile": profile});
    let made = gateway.admin().post("/tenants", &made).bearer(ROOT_KEY).await.expect(201);
    let sender = json!({"kind": "http", "url": provider.url(), "body": {"to": "{to}", "text": "{text}", "code": "{code}"},
                        "success": {"reference": "/id"}});
    let settings = json!({"sms": {"mode": "own", "regions": ["SN"], "senders": [sender]},
                          "otp": {"sms": {"length": 6}}});
    gateway.admin().patch("/tenants/acme/settings", &settings).bearer(ROOT_KEY).await.expect(200);
    (made.word("id").parse().unwrap(), provider)
}

/// The code last texted to that number.
async fn texted(gateway: &Gateway, provider: &Provider, number: &str) -> String {
    let code = || {
        let asked = provider.asked();
        let told = asked.iter().rev().map(Asked::json).find(|told| told["to"] == number)?;
        told["code"].as_str().filter(|code| !code.is_empty()).map(str::to_owned)
    };
    gateway.until(|| async { code().is_some() }).await;
    code().unwrap()
}

async fn change(door: Door<'_>, access: &str, contact: &Value) {
    door.gateway().clock.advance(seconds(31));
    door.post("/api/auth/contact/change", contact).bearer(access).await.expect(200);
}

async fn confirm(door: Door<'_>, access: &str, contact: &Value) {
    door.post("/api/auth/contact/confirm", contact).bearer(access).await.expect(200);
}

/// Everything was sent or given up.
async fn sent(gateway: &Gateway) {
    let storage = gateway.storage().await;
    gateway.until(|| async { storage.outbox().depth().await.unwrap().waiting == 0 }).await;
}

/// Attempts at messages to a contact, as the log shows them.
async fn log(gateway: &Gateway, contact: &str) -> usize {
    let path = format!("/tenants/acme/messages?recipient={}", contact.replace('+', "%2B"));
    gateway.admin().get(&path).bearer(ROOT_KEY).await.expect(200)["items"].as_array().unwrap().len()
}

/// Somebody with a number, an address besides, and another number in the first one's place.
async fn a_person_who_moved(gateway: &Gateway, provider: &Provider) -> Tokens {
    let door = gateway.door("/t/acme");
    door.post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);
    let code = texted(gateway, provider, NUMBER).await;
    let proof = super::verify_code(door, NUMBER, &code).await.expect(200).word("registration_token");
    let body = json!({"phone": NUMBER, "first_name": "Awa", "last_name": "Diop", "registration_token": proof});
    let awa = Tokens::from(&door.post("/auth/register", &body).await.expect(201));
    change(door, &awa.access, &json!({"email": AWA})).await;
    let code = gateway.inbox.next_with(AWA, "is your code to use").await.code(6);
    confirm(door, &awa.access, &json!({"email": AWA, "code": code})).await;
    change(door, &awa.access, &json!({"phone": OTHER_NUMBER})).await;
    let code = texted(gateway, provider, OTHER_NUMBER).await;
    confirm(door, &awa.access, &json!({"phone": OTHER_NUMBER, "code": code})).await;
    // One more address, which she never confirms.
    change(door, &awa.access, &json!({"email": NEW_ADDRESS})).await;
    door.post("/auth/request-code", &json!({"phone": BINTA})).await.expect(200);
    sent(gateway).await;
    for contact in [NUMBER, OTHER_NUMBER, AWA, NEW_ADDRESS, BINTA] {
        assert!(log(gateway, contact).await >= 1, "{contact}");
    }
    awa
}

/// No row leads to any of her contacts; her neighbour's are there.
async fn is_forgotten(gateway: &Gateway, tenant: TenantId) {
    let digests = Digests::new(&MasterKey::from_bytes(MASTER_KEY));
    let tables = gateway.tables().await;
    for (kind, contact) in [
        (ContactKind::Phone, NUMBER),
        (ContactKind::Phone, OTHER_NUMBER),
        (ContactKind::Email, AWA),
        (ContactKind::Email, NEW_ADDRESS),
    ] {
        assert_eq!(log(gateway, contact).await, 0, "{contact}");
        let digest = digests.contact(tenant, &Contact::from_canonical(kind, contact).unwrap());
        let digest = hex(digest.as_bytes());
        for (table, row) in &tables {
            let row = row.to_ascii_lowercase();
            assert!(!row.contains(&digest) && !row.contains(contact), "{contact} is in {table}: {row}");
        }
    }
    assert_eq!(log(gateway, BINTA).await, 1);
}

async fn what_was_sent_to_a_person_who_erases_themselves_is_forgotten(gateway: Gateway) {
    let (tenant, provider) = acme(&gateway, "classic").await;
    let awa = a_person_who_moved(&gateway, &provider).await;

    gateway.door("/t/acme").delete("/api/auth/me").bearer(&awa.access).await.expect(204);

    is_forgotten(&gateway, tenant).await;
}

async fn what_was_sent_to_a_person_whom_an_admin_erases_is_forgotten(gateway: Gateway) {
    let (tenant, provider) = acme(&gateway, "classic").await;
    let awa = a_person_who_moved(&gateway, &provider).await;
    let me = gateway.door("/t/acme").get("/api/auth/me").bearer(&awa.access).await.expect(200);

    let path = format!("/tenants/acme/users/{}", me.word("id"));
    gateway.admin().call(Method::DELETE, &path).bearer(ROOT_KEY).await.expect(204);

    is_forgotten(&gateway, tenant).await;
}

async fn a_change_to_somebody_s_contact_takes_none_of_theirs_along(gateway: Gateway) {
    // Where nobody learns whose an address is, a code goes to whoever has it.
    acme(&gateway, "asvs-l1").await;
    let door = gateway.door("/t/acme");
    a_person(door, NEW_ADDRESS).await;
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;
    change(door, &awa.access, &json!({"email": NEW_ADDRESS})).await;
    door.post("/api/auth/password/forgot", &json!({"email": NEW_ADDRESS})).await.expect(200);
    // Written once it is answered.
    gateway.until(|| async { gateway.posted(NEW_ADDRESS, "password_reset").await == 1 }).await;
    sent(&gateway).await;
    let before = log(&gateway, NEW_ADDRESS).await;
    assert_eq!(before, 3, "a verification, the code, a reset");

    door.delete("/api/auth/me").bearer(&awa.access).await.expect(204);

    assert_eq!((log(&gateway, AWA).await, log(&gateway, NEW_ADDRESS).await), (0, before));
    assert_eq!(gateway.posted(NEW_ADDRESS, "password_reset").await, 1);
    assert_eq!(gateway.posted(NEW_ADDRESS, "contact_change_code").await, 0, "it named her account");
    let reset = gateway.inbox.next_with(NEW_ADDRESS, "/password/reset/").await.token();
    door.post("/api/auth/password/reset", &json!({"token": reset, "password": PASSWORD})).await.expect(200);
}
