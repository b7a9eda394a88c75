//! The language of messages: what the request asks for, else the account's, else the tenant's.

use http::Method;
use serde_json::json;

use super::{AWA, NUMBER, PASSWORD, fail, minutes, verify_code};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_code_comes_in_the_language_asked_for,
    a_registered_number_gets_its_codes_in_its_own_language,
    mails_come_in_the_account_s_language,
    a_stranger_s_language_does_not_reach_the_owner,
    pages_are_in_the_language_of_the_browser,
    what_programs_read_is_never_translated,
);

async fn text_of(gateway: &Gateway, to: &str) -> String {
    gateway.inbox.next(to).await.text
}

async fn a_code_comes_in_the_language_asked_for(gateway: Gateway) {
    let door = gateway.classic();
    for (language, words) in [("fr-SN,fr;q=0.9", "est votre code"), ("en-GB", "is your"), ("wo", "is your")] {
        door.post("/auth/request-code", &json!({"phone": NUMBER})).language(language).await.expect(200);
        let text = text_of(&gateway, NUMBER).await;
        assert!(text.contains(words), "{language}: {text}");
        gateway.clock.advance(minutes(1));
    }
}

async fn a_registered_number_gets_its_codes_in_its_own_language(gateway: Gateway) {
    let door = gateway.classic();
    door.post("/auth/request-code", &json!({"phone": NUMBER})).language("fr").await.expect(200);
    let code = gateway.inbox.next(NUMBER).await.code(4);
    let proof = verify_code(door, NUMBER, &code).await.expect(200).word("registration_token");
    let body = json!({"phone": NUMBER, "first_name": "Awa", "last_name": "Diop", "registration_token": proof});
    door.post("/auth/register", &body).language("fr").await.expect(201);
    gateway.clock.advance(minutes(1));

    door.post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);

    let text = text_of(&gateway, NUMBER).await;
    assert!(text.contains("est votre code"), "{text}");
}

/// Registers in French, and proves the address.
async fn a_french_person(gateway: &Gateway) {
    let door = gateway.classic();
    let body = json!({"username": "awa", "email": AWA, "password": PASSWORD});
    door.post("/api/auth/register", &body).language("fr").await.expect(201);
    let mail = gateway.inbox.next(AWA).await;
    assert!(mail.text.contains("adresse"), "{}", mail.text);
    door.get(&mail.link()).await.expect(200);
}

async fn mails_come_in_the_account_s_language(gateway: Gateway) {
    let door = gateway.classic();
    a_french_person(&gateway).await;

    door.post("/api/auth/login", &json!({"email": AWA, "password": PASSWORD})).await.expect(200);
    let code = text_of(&gateway, AWA).await;
    door.post("/api/auth/password/forgot", &json!({"email": AWA})).await.expect(200);
    let link = text_of(&gateway, AWA).await;
    gateway.clock.advance(minutes(1));
    door.post("/api/auth/password/forgot", &json!({"email": AWA})).language("en").await.expect(200);
    let english = text_of(&gateway, AWA).await;

    assert!(code.contains("est votre code"), "{code}");
    assert!(link.contains("mot de passe"), "{link}");
    assert!(english.contains("new password"), "{english}");
}

async fn a_stranger_s_language_does_not_reach_the_owner(gateway: Gateway) {
    let door = gateway.classic();
    a_french_person(&gateway).await;

    for _ in 0..5 {
        let wrong = json!({"email": AWA, "password": "not the password"});
        door.post("/api/auth/login", &wrong).language("en").await;
    }

    let text = text_of(&gateway, AWA).await;
    assert!(text.contains("compte"), "{text}");
}

async fn pages_are_in_the_language_of_the_browser(gateway: Gateway) {
    let door = gateway.classic();
    let body = json!({"username": "awa", "email": AWA, "password": PASSWORD});
    door.post("/api/auth/register", &body).await.expect(201);
    let link = gateway.inbox.next(AWA).await.link();

    let french = door.get(&link).by_browser().language("fr-FR").await.expect(200);
    let english = door.get(&link).by_browser().await.expect(200);
    let pressed = door.call(Method::POST, &link).by_browser().language("fr").await.expect(200);
    let dead = door.get("/api/auth/verify/x").by_browser().language("fr").await.expect(400);

    assert!(french.text.contains("<html lang=\"fr\">") && french.text.contains("Confirmer"), "{}", french.text);
    assert!(english.text.contains("<html lang=\"en\">") && english.text.contains("Confirm"), "{}", english.text);
    assert!(pressed.text.contains("Vous pouvez vous connecter"), "{}", pressed.text);
    assert!(dead.text.contains("n&#x27;est plus valable") || dead.text.contains("n'est plus valable"), "{}", dead.text);
}

async fn what_programs_read_is_never_translated(gateway: Gateway) {
    let door = gateway.classic();
    let english = fail(door, AWA).await;
    let body = json!({"email": AWA, "password": "not the password"});
    let french = door.post("/api/auth/login", &body).language("fr").await;

    assert_eq!(english.same_for_everybody(), french.same_for_everybody());
}
