//! What admins may ask about people and do to them; never choosing a password, never seeing a secret.

use http::Method;
use serde_json::{Value, json};

use super::key_of;
use crate::flows::{
    AWA, NEW_PASSWORD, NUMBER, OTHER_NUMBER, PASSWORD, a_person, a_phone_person, fail, is_good, lock, log_in, minutes,
    refresh, register, sign_in,
};
use crate::harness::client::{Answer, Call, Door};
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    an_invitation_link_works_once,
    an_invitation_s_page_changes_nothing_and_its_form_sets_the_password,
    an_invitation_ends_with_its_link_and_frees_the_address,
    a_second_invitation_voids_the_first_and_nobody_else_is_invited,
    no_admin_sets_a_password,
    unlocking_by_admin_clears_every_lane,
    a_disabled_person_is_refused_everywhere_until_enabled,
    an_admin_ends_sessions,
    an_erased_person_is_in_no_table,
    an_export_holds_everything_and_no_secret,
    a_reset_that_an_admin_begins_is_chosen_by_the_person,
    a_compromised_password_opens_nothing,
    people_are_found_by_every_spelling_of_what_is_known_of_them,
    people_come_in_pages_newest_first,
    support_reads_unlocks_and_ends_sessions_and_no_more,
    another_tenants_people_look_like_nobody,
    what_was_done_is_on_record_with_the_key_that_did_it,
);

const BINTA: &str = "binta@example.com";
const CANARY: &str = "canary-4b1d7@example.com";
const SECOND_CANARY: &str = "canary-9c2e8@example.com";

/// The users of the default tenant, or a path below one of them, for the root key.
fn call<'g>(gateway: &'g Gateway, method: Method, path: &str) -> Call<'g> {
    gateway.admin().call(method, &format!("/tenants/default/{path}")).bearer(ROOT_KEY)
}

async fn get(gateway: &Gateway, path: &str) -> Answer {
    call(gateway, Method::GET, path).await.expect(200)
}

async fn act(gateway: &Gateway, id: &str, verb: &str) {
    call(gateway, Method::POST, &format!("users/{id}/{verb}")).await.expect(204);
}

async fn id_of(gateway: &Gateway, email: &str) -> String {
    get(gateway, &format!("users?email={email}")).await["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn invite(gateway: &Gateway, body: &Value) -> Answer {
    call(gateway, Method::POST, "users").body("application/json", body.to_string()).await
}

/// The path of the invitation's link, below the default tenant.
async fn invited(gateway: &Gateway, email: &str) -> String {
    invite(gateway, &json!({"email": email, "username": "Awa", "locale": "en"})).await.expect(201);
    gateway.inbox.next_with(email, "/invitation/").await.link().replace("/t/default", "")
}

async fn accept(door: Door<'_>, link: &str, password: &str) -> Answer {
    door.post(link, &json!({"password": password})).await
}

fn emails(page: &Answer) -> Vec<String> {
    page["items"].as_array().unwrap().iter().filter_map(|item| item["email"].as_str().map(str::to_owned)).collect()
}

async fn an_invitation_link_works_once(gateway: Gateway) {
    let door = gateway.classic();
    let made = invite(&gateway, &json!({"email": " Awa@EXAMPLE.com", "username": "Awa"})).await.expect(201);
    assert_eq!(made["email"], AWA);
    assert!(made.header("location").ends_with(&format!("/users/{}", made.word("id"))));
    let link = gateway.inbox.next_with(AWA, "/invitation/").await.link().replace("/t/default", "");
    let waiting = get(&gateway, &format!("users/{}", made.word("id"))).await;
    assert_eq!((&waiting["verified"], &waiting["has_password"]), (&json!(false), &json!(false)));
    log_in(door, AWA, PASSWORD).await.refused(400, "invalid_credentials");

    accept(door, &link, "abc").await.refused(400, "validation");
    accept(door, &link, PASSWORD).await.expect(200);

    accept(door, &link, NEW_PASSWORD).await.refused(400, "invalid_link");
    assert_eq!(log_in(door, AWA, PASSWORD).await.expect(200)["otp_required"], true);
    let known = get(&gateway, &format!("users/{}", made.word("id"))).await;
    assert_eq!((&known["verified"], &known["has_password"]), (&json!(true), &json!(true)));
    gateway.clock.advance(minutes(60 * 25));
    log_in(door, AWA, PASSWORD).await.expect(200);
}

async fn an_invitation_s_page_changes_nothing_and_its_form_sets_the_password(gateway: Gateway) {
    let door = gateway.classic();
    let link = invited(&gateway, AWA).await;

    for _ in 0..2 {
        let page = door.get(&link).by_browser().await.expect(200);
        assert!(
            page.text.contains("<form method=\"post\">") && page.text.contains("type=\"password\""),
            "{}",
            page.text
        );
        door.call(Method::HEAD, &link).await.expect(200);
    }
    let form = |password: &str| {
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("password", password).finish();
        door.call(Method::POST, &link).body("application/x-www-form-urlencoded", form).by_browser()
    };
    form("abc").await.expect(400);
    form(PASSWORD).await.expect(200);

    let again = form(NEW_PASSWORD).await.expect(400);
    assert!(!again.text.contains("<form"), "{}", again.text);
    log_in(door, AWA, PASSWORD).await.expect(200);
}

async fn an_invitation_ends_with_its_link_and_frees_the_address(gateway: Gateway) {
    let door = gateway.classic();
    let link = invited(&gateway, AWA).await;
    gateway.clock.advance(minutes(60 * 24));

    accept(door, &link, PASSWORD).await.refused(400, "invalid_link");

    assert_eq!(get(&gateway, "users").await["items"], json!([]));
    register(door, AWA).await.expect(201);
}

async fn a_second_invitation_voids_the_first_and_nobody_else_is_invited(gateway: Gateway) {
    let door = gateway.classic();
    let first = invited(&gateway, AWA).await;
    let second = invited(&gateway, AWA).await;

    accept(door, &first, PASSWORD).await.refused(400, "invalid_link");
    accept(door, &second, PASSWORD).await.expect(200);

    invite(&gateway, &json!({"email": AWA})).await.refused(400, "user_exists");
    register(door, BINTA).await.expect(201);
    invite(&gateway, &json!({"email": BINTA})).await.refused(400, "user_exists");
    for n in 0..5 {
        let sent = invite(&gateway, &json!({"email": "often@example.com"})).await;
        assert_eq!(sent.status, 201, "{n}");
    }
    invite(&gateway, &json!({"email": "often@example.com"})).await.refused(429, "too_many_requests");
}

async fn no_admin_sets_a_password(gateway: Gateway) {
    let refused = invite(&gateway, &json!({"email": AWA, "password": PASSWORD})).await.refused(400, "validation");
    assert_eq!(refused["errors"][0]["code"], "unknown_member");

    let client = gateway.http([127, 0, 0, 1].into());
    let described = client.get(gateway.admin_url("/openapi.json")).bearer_auth(ROOT_KEY).send().await.unwrap();
    let described: Value = described.json().await.unwrap();
    let paths = described["paths"].as_object().unwrap();
    assert!(paths.keys().filter(|path| path.contains("/users")).count() >= 8);
    let person = described["components"]["schemas"]["NewPerson"]["properties"].as_object().unwrap();
    assert!(!person.is_empty() && person.keys().all(|member| !member.contains("password")));
}

async fn unlocking_by_admin_clears_every_lane(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let id = id_of(&gateway, AWA).await;
    let wrong = json!({"email": AWA, "password": "not the password"});
    lock(door, AWA).await;
    for _ in 0..5 {
        door.post("/api/auth/login", &wrong).device(&device).await;
    }
    let locks = get(&gateway, "locks").await;
    assert_eq!(locks["items"].as_array().unwrap().len(), 2, "{}", locks.text);
    assert!(locks["items"].as_array().unwrap().iter().all(|lock| lock["account"] == id.as_str()));
    let first = get(&gateway, "locks?limit=1").await;
    let second = get(&gateway, &format!("locks?limit=1&after={}", first.word("next"))).await;
    assert_ne!(first["items"], second["items"]);
    let stands = get(&gateway, &format!("users/{id}")).await;
    assert_eq!(stands["attempts"].as_array().unwrap().len(), 2);
    assert!(stands["locked_until"].is_string());
    assert_eq!(emails(&get(&gateway, "users?status=locked").await), [AWA]);

    act(&gateway, &id, "unlock").await;

    log_in(door, AWA, PASSWORD).await.expect(200);
    sign_in(door, AWA, &device).await;
    for _ in 0..4 {
        fail(door, AWA).await.refused(400, "invalid_credentials");
    }
    assert_eq!(get(&gateway, "locks").await["items"], json!([]));
    let unlocks = get(&gateway, &format!("audit?account={id}&kind=authn_login_unlock")).await;
    let causes: Vec<_> = unlocks["items"].as_array().unwrap().iter().map(|event| event["cause"].clone()).collect();
    assert_eq!(causes, ["admin", "admin"]);
    // And it stays so when what may expire has.
    let gateway = gateway.restart(|_| {}).await;
    sign_in(gateway.classic(), AWA, &device).await;
}

async fn a_disabled_person_is_refused_everywhere_until_enabled(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let id = id_of(&gateway, AWA).await;

    act(&gateway, &id, "disable").await;
    act(&gateway, &id, "disable").await;

    assert!(!is_good(door, &tokens.access).await);
    refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    log_in(door, AWA, PASSWORD).await.refused(403, "account_disabled");
    fail(door, AWA).await.refused(400, "invalid_credentials");
    assert_eq!(emails(&get(&gateway, "users?status=disabled").await), [AWA]);
    act(&gateway, &id, "enable").await;
    // No session came back; the device did.
    assert!(!is_good(door, &tokens.access).await);
    sign_in(door, AWA, &device).await;
    let told = get(&gateway, "audit?kind=user_updated").await;
    let causes: Vec<_> = told["items"].as_array().unwrap().iter().map(|event| event["cause"].clone()).collect();
    assert_eq!(causes, ["enabled", "disabled"]);
}

async fn an_admin_ends_sessions(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let id = id_of(&gateway, AWA).await;
    assert_eq!(get(&gateway, &format!("users/{id}")).await["sessions"], 1);

    act(&gateway, &id, "end-sessions").await;

    assert!(!is_good(door, &tokens.access).await);
    refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    assert_eq!(get(&gateway, &format!("users/{id}")).await["sessions"], 0);
    sign_in(door, AWA, &device).await;
}

async fn an_erased_person_is_in_no_table(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, CANARY).await;
    let tokens = sign_in(door, CANARY, &device).await;
    door.post("/api/auth/password/forgot", &json!({"email": CANARY})).await.expect(200);
    lock(door, CANARY).await;
    // Another address, and one more that was never confirmed.
    let ask = |contact: Value| door.post("/api/auth/contact/change", &contact).bearer(&tokens.access);
    ask(json!({"email": SECOND_CANARY})).await.expect(200);
    let code = gateway.inbox.next_with(SECOND_CANARY, "is your code to use").await.code(6);
    let confirm = json!({"email": SECOND_CANARY, "code": code});
    door.post("/api/auth/contact/confirm", &confirm).bearer(&tokens.access).await.expect(200);
    gateway.clock.advance(minutes(1));
    ask(json!({"phone": OTHER_NUMBER})).await.expect(200);
    let id = id_of(&gateway, SECOND_CANARY).await;
    let kept = gateway.tables().await;
    for contact in [CANARY, SECOND_CANARY, OTHER_NUMBER] {
        assert!(kept.iter().any(|(_, row)| row.contains(contact)), "{contact} was never kept");
    }

    call(&gateway, Method::DELETE, &format!("users/{id}")).await.expect(204);

    let left = gateway.tables().await;
    let hex = |text: &str| text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    for contact in [CANARY, SECOND_CANARY, OTHER_NUMBER, "123456789"] {
        let traces: Vec<_> = left
            .iter()
            .filter(|(_, row)| row.contains(contact) || row.to_ascii_lowercase().contains(&hex(contact)))
            .collect();
        assert!(traces.is_empty(), "{contact}: {traces:?}");
    }
    assert!(!is_good(door, &tokens.access).await);
    refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    call(&gateway, Method::GET, &format!("users/{id}")).await.refused(404, "not_found");
    call(&gateway, Method::DELETE, &format!("users/{id}")).await.refused(404, "not_found");
    // That it was done is on record, by ids.
    let erased = get(&gateway, &format!("audit?account={id}&kind=user_deleted")).await;
    assert_eq!(erased["items"][0]["cause"], "admin");
    register(door, CANARY).await.expect(201);
}

async fn an_export_holds_everything_and_no_secret(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    lock(door, AWA).await;
    let id = id_of(&gateway, AWA).await;

    let export = get(&gateway, &format!("users/{id}/export")).await;

    assert_eq!(export.members(), ["account", "deliveries", "events", "links", "locks", "messages", "sessions"]);
    assert_eq!((&export["account"]["email"], &export["account"]["phone_as_given"]), (&json!(AWA), &json!("123456789")));
    assert!(!export["account"]["devices"].as_array().unwrap().is_empty());
    assert_eq!(export["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(export["locks"].as_array().unwrap().len(), 1);
    let of = |list: &str, member: &str| -> Vec<String> {
        let words = export[list].as_array().unwrap().iter();
        words.filter_map(|item| item[member].as_str().map(str::to_owned)).collect()
    };
    for purpose in ["verification", "unlock"] {
        assert!(of("links", "purpose").contains(&purpose.to_owned()), "{}", export.text);
    }
    for template in ["verification", "account_locked"] {
        assert!(of("messages", "template").contains(&template.to_owned()), "{}", export.text);
    }
    for kind in ["user_created", "authn_login_success", "authn_login_lock", "sensitive_read"] {
        assert!(of("events", "kind").contains(&kind.to_owned()), "{kind} in {}", export.text);
    }
    for secret in ["$argon2", PASSWORD, &device, &tokens.access, &tokens.refresh, "digest"] {
        assert!(!export.text.contains(secret), "{secret} in {}", export.text);
    }
}

async fn a_reset_that_an_admin_begins_is_chosen_by_the_person(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    let id = id_of(&gateway, AWA).await;

    act(&gateway, &id, "reset").await;

    let token = gateway.inbox.next_with(AWA, "/password/reset/").await.token();
    log_in(door, AWA, PASSWORD).await.expect(200);
    let reset = json!({"token": token, "password": NEW_PASSWORD});
    door.post("/api/auth/password/reset", &reset).await.expect(200);
    log_in(door, AWA, NEW_PASSWORD).await.expect(200);
    a_phone_person(door, NUMBER, 4).await;
    let phone = get(&gateway, "users?phone=00221771234567").await["items"][0]["id"].as_str().unwrap().to_owned();
    call(&gateway, Method::POST, &format!("users/{phone}/reset")).await.refused(400, "invalid_request");
}

async fn a_compromised_password_opens_nothing(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let tokens = sign_in(door, AWA, &device).await;
    let id = id_of(&gateway, AWA).await;

    act(&gateway, &id, "mark-compromised").await;

    assert!(!is_good(door, &tokens.access).await);
    refresh(door, &tokens.refresh).await.refused(401, "invalid_token");
    log_in(door, AWA, PASSWORD).await.refused(400, "invalid_credentials");
    let token = gateway.inbox.next_with(AWA, "/password/reset/").await.token();
    let reset = json!({"token": token, "password": NEW_PASSWORD});
    door.post("/api/auth/password/reset", &reset).await.expect(200);
    let body = json!({"email": AWA, "password": NEW_PASSWORD});
    // The thief's device is trusted no longer.
    assert_eq!(door.post("/api/auth/login", &body).device(&device).await.expect(200)["otp_required"], true);
}

async fn people_are_found_by_every_spelling_of_what_is_known_of_them(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    register(door, BINTA).await.expect(201);
    a_phone_person(door, NUMBER, 4).await;

    for (query, found) in [
        ("email=AWA%40Example.COM", vec![AWA]),
        ("email=nobody@example.com", vec![]),
        ("q=INTA", vec![BINTA]),
        ("q=awa", vec![BINTA, AWA]),
        ("q=%25%25", vec![]),
        ("q=%27%20OR%201%3D1", vec![]),
        ("status=unverified", vec![BINTA]),
        ("status=active&q=example.com", vec![AWA]),
        ("email=awa@example.com&status=disabled", vec![]),
    ] {
        assert_eq!(emails(&get(&gateway, &format!("users?{query}")).await), found, "{query}");
    }
    for query in ["phone=%2B221771234567", "phone=00221+77+123+45+67", "q=diop", "q=DIOP"] {
        let page = get(&gateway, &format!("users?{query}")).await;
        assert_eq!(
            (page["items"].as_array().unwrap().len(), &page["items"][0]["phone"]),
            (1, &json!(NUMBER)),
            "{query}"
        );
    }
    for (query, code) in [
        ("q=a", "validation"),
        ("status=odd", "validation"),
        ("limit=0", "validation"),
        ("limit=201", "validation"),
        ("after=odd", "validation"),
        ("email=odd", "invalid_email"),
        ("phone=odd", "invalid_phone"),
    ] {
        call(&gateway, Method::GET, &format!("users?{query}")).await.refused(400, code);
    }
}

async fn people_come_in_pages_newest_first(gateway: Gateway) {
    for n in 0..5 {
        register(gateway.classic(), &format!("person{n}@example.com")).await.expect(201);
        gateway.clock.advance(minutes(1));
    }

    let (mut seen, mut after) = (Vec::new(), String::new());
    let mut pages = 0;
    loop {
        let page = get(&gateway, &format!("users?limit=2&q=example{after}")).await;
        seen.extend(emails(&page));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }

    let expected: Vec<_> = (0..5).rev().map(|n| format!("person{n}@example.com")).collect();
    assert_eq!((seen, pages), (expected, 3));
    let events = get(&gateway, "audit?limit=2&kind=user_created").await;
    let older = get(&gateway, &format!("audit?limit=200&kind=user_created&after={}", events.word("next"))).await;
    assert_eq!((events["items"].as_array().unwrap().len(), older["items"].as_array().unwrap().len()), (2, 3));
    call(&gateway, Method::GET, "audit?kind=odd").await.refused(400, "validation");
}

/// Every route of this file, with whether support people may use it.
fn routes(id: &str) -> Vec<(Method, String, bool)> {
    let of = |verb: &str| format!("users/{id}/{verb}");
    vec![
        (Method::GET, "users".to_owned(), true),
        (Method::GET, "locks".to_owned(), true),
        (Method::GET, "audit".to_owned(), true),
        (Method::GET, format!("users/{id}"), true),
        (Method::POST, of("unlock"), true),
        (Method::POST, of("end-sessions"), true),
        (Method::POST, "users".to_owned(), false),
        (Method::GET, of("export"), false),
        (Method::POST, of("disable"), false),
        (Method::POST, of("enable"), false),
        (Method::POST, of("reset"), false),
        (Method::POST, of("mark-compromised"), false),
        (Method::DELETE, format!("users/{id}"), false),
    ]
}

async fn support_reads_unlocks_and_ends_sessions_and_no_more(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    let id = id_of(&gateway, AWA).await;
    let support = key_of(&gateway, "default", "tenant-support").await;

    for (method, path, allowed) in routes(&id) {
        let answer = gateway.admin().call(method.clone(), &format!("/tenants/default/{path}")).bearer(&support).await;
        if allowed {
            assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        } else {
            answer.refused(403, "forbidden");
        }
    }
    assert_eq!(get(&gateway, &format!("users/{id}")).await["disabled"], false);
}

async fn another_tenants_people_look_like_nobody(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    let id = id_of(&gateway, AWA).await;
    let foreign = key_of(&gateway, "other", "tenant-admin").await;
    let nobody = "0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10";

    for (method, path, _) in routes(&id).into_iter().filter(|(_, path, _)| path.contains(&id)) {
        let ask = |tenant: &str, path: &str| {
            gateway.admin().call(method.clone(), &format!("/tenants/{tenant}/{path}")).bearer(&foreign)
        };
        // Through one's own tenant, an id of another's is an id of nobody.
        let theirs = ask("other", &path).await.refused(404, "not_found");
        let nobodys = ask("other", &path.replace(&id, nobody)).await.refused(404, "not_found");
        assert_eq!(theirs.same_for_everybody(), nobodys.same_for_everybody(), "{method} {path}");
        ask("default", &path).await.refused(404, "tenant_not_found");
        ask("other", &path.replace(&id, "odd")).await.refused(404, "not_found");
    }
    for list in ["users", "locks", "audit?kind=user_created"] {
        let page = gateway.admin().get(&format!("/tenants/other/{list}")).bearer(&foreign).await.expect(200);
        assert_eq!(page["items"], json!([]), "{list}");
    }
    let person = get(&gateway, &format!("users/{id}")).await;
    assert_eq!((&person["disabled"], &person["email"]), (&json!(false), &json!(AWA)));
}

async fn what_was_done_is_on_record_with_the_key_that_did_it(gateway: Gateway) {
    a_person(gateway.classic(), AWA).await;
    let id = id_of(&gateway, AWA).await;
    let key = key_of(&gateway, "default", "tenant-admin").await;
    let keys = gateway.admin().get("/tenants/default/keys").bearer(ROOT_KEY).await.expect(200);
    let key_id = keys["items"][0]["id"].clone();

    for verb in ["unlock", "end-sessions", "disable", "enable", "reset"] {
        let path = format!("/tenants/default/users/{id}/{verb}");
        gateway.admin().call(Method::POST, &path).bearer(&key).await.expect(204);
    }

    let events = get(&gateway, &format!("audit?account={id}")).await;
    let done: Vec<_> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["key"] == key_id)
        .map(|event| event["cause"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(done, ["reset", "enabled", "disabled", "admin", "unlock"]);
}
