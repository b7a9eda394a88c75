//! Another address or number to sign in with: the new one is proven, the old one is told.

use serde_json::{Value, json};

use super::{
    AWA, NEW_PASSWORD, NUMBER, OTHER_NUMBER, PASSWORD, Tokens, a_person, a_phone_person, is_good, log_in, minutes,
    refresh, request_code, seconds, sign_in, verify_code, wrong,
};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_changed_address_signs_in_and_the_old_one_no_more,
    a_changed_number_signs_in_and_the_old_one_is_nobody_s,
    a_person_with_a_number_may_add_an_address,
    a_person_with_both_is_shown_by_each_api_in_its_own_form,
    a_stale_sign_in_cannot_change_the_contact,
    a_code_is_worth_nothing_for_another_contact_or_another_account,
    nobody_learns_from_a_strict_tenant_whose_an_address_is,
    a_classic_tenant_says_whose_an_address_is,
    of_two_who_prove_one_number_the_first_has_it,
    links_mailed_to_the_old_address_are_void,
    many_accounts_send_one_stranger_no_more_than_one_would,
    what_was_not_sent_uses_up_nothing,
    wrong_codes_end_the_change,
    a_change_names_exactly_one_contact_that_is_new,
);

const BINTA: &str = "binta@example.com";
const NEW: &str = "awa.diop@example.com";

async fn change(door: Door<'_>, access: &str, contact: &Value) -> Answer {
    door.post("/api/auth/contact/change", contact).bearer(access).await
}

/// Asks for a code to the new contact and reads it.
async fn code_for(door: Door<'_>, access: &str, kind: &str, contact: &str) -> String {
    change(door, access, &json!({kind: contact})).await.expect(200);
    door.gateway().inbox.next_with(contact, "is your code to use").await.code(6)
}

async fn confirm(door: Door<'_>, access: &str, kind: &str, contact: &str, code: &str) -> Answer {
    door.post("/api/auth/contact/confirm", &json!({kind: contact, "code": code})).bearer(access).await
}

async fn a_changed_address_signs_in_and_the_old_one_no_more(gateway: Gateway) {
    for door in [gateway.classic(), gateway.strict()] {
        let device = a_person(door, AWA).await;
        let other = sign_in(door, AWA, &device).await;
        let acting = sign_in(door, AWA, &device).await;

        let asked = change(door, &acting.access, &json!({"email": " Awa.Diop@EXAMPLE.com "})).await.expect(200);
        assert_eq!(asked.members(), ["expires_in", "message", "resend_in"]);
        let code = gateway.inbox.next_with(NEW, "is your code to use").await.code(6);
        // Nothing has changed yet.
        sign_in(door, AWA, &device).await;
        let confirmed = confirm(door, &acting.access, "email", NEW, &code).await.expect(200);

        assert_eq!(confirmed["user"]["email"], NEW);
        assert!(is_good(door, &acting.access).await);
        assert!(!is_good(door, &other.access).await);
        refresh(door, &other.refresh).await.refused(401, "invalid_token");
        sign_in(door, NEW, &device).await;
        log_in(door, AWA, PASSWORD).await.refused(400, "invalid_credentials");
        for told in [AWA, NEW] {
            gateway.inbox.next_with(told, "were changed").await;
        }
        confirm(door, &acting.access, "email", NEW, &code).await.refused(400, "code_expired");
    }
}

async fn a_changed_number_signs_in_and_the_old_one_is_nobody_s(gateway: Gateway) {
    let door = gateway.classic();
    let awa = a_phone_person(door, NUMBER, 4).await;

    let code = code_for(door, &awa.access, "phone", OTHER_NUMBER).await;
    let confirmed = confirm(door, &awa.access, "phone", OTHER_NUMBER, &code).await.expect(200);

    assert_eq!(confirmed["user"]["phone"], OTHER_NUMBER);
    gateway.inbox.next_with(OTHER_NUMBER, "were changed").await;
    let code = request_code(door, OTHER_NUMBER, 4).await;
    assert_eq!(verify_code(door, OTHER_NUMBER, &code).await.expect(200)["user"]["phone"], OTHER_NUMBER);
    gateway.clock.advance(minutes(1));
    gateway.inbox.next_with(NUMBER, "were changed").await;
    let code = request_code(door, NUMBER, 4).await;
    assert_eq!(verify_code(door, NUMBER, &code).await.expect(200)["message"], "User not registered");
}

async fn a_person_with_a_number_may_add_an_address(gateway: Gateway) {
    let door = gateway.strict();
    let awa = a_phone_person(door, NUMBER, 6).await;

    let code = code_for(door, &awa.access, "email", NEW).await;
    let confirmed = confirm(door, &awa.access, "email", NEW, &code).await.expect(200);

    assert_eq!((&confirmed["user"]["email"], &confirmed["user"]["phoneNumber"]), (&json!(NEW), &json!(NUMBER)));
    // Whoever may be reached is told.
    gateway.inbox.next_with(NUMBER, "were changed").await;
    // And the address sets a password of its own.
    door.post("/api/auth/password/forgot", &json!({"email": NEW})).await.expect(200);
    let token = gateway.inbox.next_with(NEW, "/password/reset/").await.token();
    let reset = json!({"token": token, "password": PASSWORD});
    door.post("/api/auth/password/reset", &reset).await.expect(200);
    assert_eq!(log_in(door, NEW, PASSWORD).await.expect(200)["otp_required"], true);
}

async fn a_person_with_both_is_shown_by_each_api_in_its_own_form(gateway: Gateway) {
    const BY_EMAIL: [&str; 4] = ["email", "id", "phoneNumber", "username"];
    const BY_PHONE: [&str; 4] = ["first_name", "id", "last_name", "phone"];
    let members = |user: &Value| user.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let door = gateway.classic();
    // One began with a number, the other with an address.
    let awa = a_phone_person(door, NUMBER, 4).await;
    let code = code_for(door, &awa.access, "email", NEW).await;
    confirm(door, &awa.access, "email", NEW, &code).await.expect(200);
    let device = a_person(door, BINTA).await;
    let binta = sign_in(door, BINTA, &device).await;
    let code = code_for(door, &binta.access, "phone", OTHER_NUMBER).await;
    confirm(door, &binta.access, "phone", OTHER_NUMBER, &code).await.expect(200);
    gateway.clock.advance(seconds(31));
    for (number, first_name) in [(NUMBER, json!("Awa")), (OTHER_NUMBER, Value::Null)] {
        gateway.inbox.next_with(number, "were changed").await;
        let code = request_code(door, number, 4).await;

        let by_number = verify_code(door, number, &code).await.expect(200);

        let user = &by_number["user"];
        assert_eq!(members(user), BY_PHONE);
        assert_eq!((&user["phone"], &user["first_name"]), (&json!(number), &first_name));
        let me = door.get("/api/auth/me").bearer(&by_number.word("token")).await.expect(200);
        assert_eq!(me.members(), BY_EMAIL);
        assert_eq!((&me["id"], &me["phoneNumber"]), (&user["id"], &json!(number)));
    }

    let body = json!({"email": BINTA, "password": PASSWORD});
    let by_address = door.post("/api/auth/login", &body).device(&device).await.expect(200);

    assert_eq!(members(&by_address["user"]), BY_EMAIL);
}

async fn a_stale_sign_in_cannot_change_the_contact(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    gateway.clock.advance(minutes(5) + seconds(1));

    let body = json!({"email": NEW});
    let refused = change(door, &tokens.access, &body).await.refused(401, "insufficient_user_authentication");
    // A refresh is no sign-in.
    let refreshed = Tokens::from(&refresh(door, &tokens.refresh).await.expect(200));
    change(door, &refreshed.access, &body).await.refused(401, "insufficient_user_authentication");
    door.post("/api/auth/contact/change", &body).await.refused(401, "missing_token");

    assert_eq!(
        refused.header("www-authenticate"),
        "Bearer realm=\"default\", error=\"insufficient_user_authentication\", error_description=\"A more recent \
         authentication is required\", acr_values=\"urn:guichet:aal1\", max_age=\"300\""
    );
    assert_eq!(gateway.posted(NEW, "").await, 0);
    let fresh = sign_in(door, AWA, &device).await;
    change(door, &fresh.access, &body).await.expect(200);
}

async fn a_code_is_worth_nothing_for_another_contact_or_another_account(gateway: Gateway) {
    let door = gateway.classic();
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;
    let binta = sign_in(door, BINTA, &a_person(door, BINTA).await).await;
    let code = code_for(door, &awa.access, "email", NEW).await;
    code_for(door, &binta.access, "email", NEW).await;

    confirm(door, &awa.access, "email", "else@example.com", &code).await.refused(400, "invalid_code");
    confirm(door, &awa.access, "phone", NUMBER, &code).await.refused(400, "invalid_code");
    confirm(door, &binta.access, "email", NEW, &code).await.refused(400, "invalid_code");
    let body = json!({"email": NEW, "otp": code});
    door.post("/api/auth/verify-otp", &body).await.refused(400, "code_expired");
    let elsewhere = gateway.other().post("/api/auth/contact/confirm", &json!({"email": NEW, "code": code}));
    elsewhere.bearer(&awa.access).await.refused(401, "invalid_token");

    confirm(door, &awa.access, "email", NEW, &code).await.expect(200);
}

async fn nobody_learns_from_a_strict_tenant_whose_an_address_is(gateway: Gateway) {
    let door = gateway.strict();
    let binta_device = a_person(door, BINTA).await;
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;

    let taken = change(door, &awa.access, &json!({"email": BINTA})).await.expect(200);
    let guess = confirm(door, &awa.access, "email", BINTA, "000000").await;
    gateway.clock.advance(seconds(30));
    let free = change(door, &awa.access, &json!({"email": NEW})).await.expect(200);

    assert_eq!(taken.members(), free.members());
    assert_eq!(taken["message"], free["message"]);
    guess.refused(400, "invalid_code");
    // Not even whoever reads Binta's mail takes the address away.
    let code = gateway.inbox.next_with(BINTA, "is your code to use").await.code(6);
    confirm(door, &awa.access, "email", BINTA, &code).await.refused(400, "code_expired");
    sign_in(door, BINTA, &binta_device).await;
    assert_eq!(door.get("/api/auth/me").bearer(&awa.access).await.expect(200)["email"], AWA);
}

async fn a_classic_tenant_says_whose_an_address_is(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, BINTA).await;
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;

    change(door, &awa.access, &json!({"email": BINTA})).await.refused(400, "user_exists");

    assert_eq!(gateway.posted(BINTA, "contact_change").await, 0);
}

async fn of_two_who_prove_one_number_the_first_has_it(gateway: Gateway) {
    let door = gateway.classic();
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;
    let binta = sign_in(door, BINTA, &a_person(door, BINTA).await).await;
    let awas = code_for(door, &awa.access, "phone", NUMBER).await;
    let bintas = code_for(door, &binta.access, "phone", NUMBER).await;

    let answers = tokio::join!(
        confirm(door, &awa.access, "phone", NUMBER, &awas),
        confirm(door, &binta.access, "phone", NUMBER, &bintas)
    );

    let mut statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    let loser = if answers.0.status == 400 { answers.0 } else { answers.1 };
    loser.refused(400, "user_exists");
    let holders = gateway.tables().await.into_iter().filter(|(table, row)| table == "contacts" && row.contains(NUMBER));
    assert_eq!(holders.count(), 1);
}

async fn links_mailed_to_the_old_address_are_void(gateway: Gateway) {
    let door = gateway.classic();
    let tokens = sign_in(door, AWA, &a_person(door, AWA).await).await;
    door.post("/api/auth/password/forgot", &json!({"email": AWA})).await.expect(200);
    let token = gateway.inbox.next_with(AWA, "/password/reset/").await.token();

    let code = code_for(door, &tokens.access, "email", NEW).await;
    confirm(door, &tokens.access, "email", NEW, &code).await.expect(200);

    let reset = json!({"token": token, "password": NEW_PASSWORD});
    door.post("/api/auth/password/reset", &reset).await.refused(400, "invalid_link");
}

async fn many_accounts_send_one_stranger_no_more_than_one_would(gateway: Gateway) {
    let door = gateway.strict();
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;
    let binta = sign_in(door, BINTA, &a_person(door, BINTA).await).await;
    let body = json!({"phone": NUMBER});
    for sender in [&awa, &binta, &awa, &binta] {
        change(door, &sender.access, &body).await.expect(200);
        gateway.clock.advance(seconds(30));
    }
    change(door, &awa.access, &body).await.expect(200);

    let refused = change(door, &binta.access, &body).await.refused(429, "too_many_requests");

    assert_eq!(gateway.posted(NUMBER, "contact_change_code").await, 5);
    assert!(refused.retry_after() > 3_000);
    // Another contact is no refuge: the account has its own ceiling, and its pace.
    change(door, &awa.access, &json!({"phone": OTHER_NUMBER})).await.refused(429, "too_many_requests");
}

async fn what_was_not_sent_uses_up_nothing(gateway: Gateway) {
    let door = gateway.strict();
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;
    let body = json!({"phone": NUMBER});

    for _ in 0..4 {
        change(door, &awa.access, &body).await.expect(200);
        let early = change(door, &awa.access, &body).await.refused(429, "too_many_requests");
        gateway.clock.advance(seconds(early.retry_after()));
    }
    change(door, &awa.access, &body).await.expect(200);

    assert_eq!(gateway.posted(NUMBER, "contact_change_code").await, 5);
    // The hour's last.
    let refused = change(door, &awa.access, &body).await.refused(429, "too_many_requests");
    assert!(refused.retry_after() > 3_000);
}

async fn wrong_codes_end_the_change(gateway: Gateway) {
    let door = gateway.strict();
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;
    let code = code_for(door, &awa.access, "email", NEW).await;

    for _ in 0..3 {
        confirm(door, &awa.access, "email", NEW, &wrong(&code)).await.refused(400, "invalid_code");
    }

    confirm(door, &awa.access, "email", NEW, &code).await.refused(400, "code_expired");
    assert_eq!(door.get("/api/auth/me").bearer(&awa.access).await.expect(200)["email"], AWA);
}

async fn a_change_names_exactly_one_contact_that_is_new(gateway: Gateway) {
    let door = gateway.classic();
    let awa = sign_in(door, AWA, &a_person(door, AWA).await).await;
    for (body, code) in [
        (json!({}), "validation"),
        (json!({"email": NEW, "phone": NUMBER}), "validation"),
        (json!({"email": AWA}), "validation"),
        (json!({"email": "nobody"}), "invalid_email"),
        (json!({"phone": "12"}), "invalid_phone"),
    ] {
        change(door, &awa.access, &body).await.refused(400, code);
    }
    let number = json!({"email": NEW, "code": 123_456});
    let refused = door.post("/api/auth/contact/confirm", &number).bearer(&awa.access).await.refused(400, "validation");
    assert_eq!(refused["errors"][0]["pointer"], "/code");
}
