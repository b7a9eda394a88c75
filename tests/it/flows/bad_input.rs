//! What cannot be read, is too much, or means to do harm: refused in the words of the contract.

use http::Method;
use serde_json::{Value, json};

use super::{AWA, NUMBER, PASSWORD, a_person, log_in, request_code, sign_in, verify_code};
use crate::harness::gateway::{Gateway, on_every_back_end};

on_every_back_end!(
    a_body_that_is_no_json_object_of_its_type_is_refused,
    a_missing_or_mistyped_member_is_named_by_its_pointer,
    every_wrong_member_of_a_registration_is_named_at_once,
    a_code_is_a_string,
    a_password_of_257_characters_is_refused_before_it_is_hashed,
    unknown_members_are_ignored,
    an_unknown_client_id_is_refused,
    control_characters_never_get_through,
    a_nul_is_only_wrong_wherever_it_stands,
    an_address_or_number_that_is_none_is_refused,
    forty_spellings_of_a_number_are_one_number,
);

const POSTS: &[&str] = &[
    "/auth/request-code",
    "/auth/verify-code",
    "/auth/register",
    "/api/auth/register",
    "/api/auth/resend-verification",
    "/api/auth/login",
    "/api/auth/verify-otp",
    "/api/auth/password/forgot",
    "/api/auth/password/reset",
    "/api/auth/refresh",
];

async fn a_body_that_is_no_json_object_of_its_type_is_refused(gateway: Gateway) {
    let door = gateway.classic();
    let full = |bytes: usize| format!("{{\"x\":\"{}\"}}", "a".repeat(bytes - 8));
    for (path, n) in POSTS.iter().zip(1..) {
        // One client may not send as many as are tried here.
        let send = |media: &str, body: &str| door.call(Method::POST, path).at([127, 0, 1, n]).body(media, body);
        for malformed in ["", "{", "{\"email\":}", "\u{0}", "nothing", &"[".repeat(10_000), &"{\"a\":".repeat(5_000)] {
            send("application/json", malformed).await.refused(400, "invalid_json");
        }
        for no_object in ["[]", "null", "\"text\"", "7"] {
            send("application/json", no_object).await.refused(400, "validation");
        }
        for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            send(media, "{}").await.refused(415, "unsupported_media_type");
        }
        send("application/json", &full(64 * 1_024 + 1)).await.refused(413, "payload_too_large");
        send("application/json", &full(64 * 1_024)).await.refused(400, "validation");
        send("application/json; charset=utf-8", "{}").await.refused(400, "validation");
    }
}

async fn a_missing_or_mistyped_member_is_named_by_its_pointer(gateway: Gateway) {
    let door = gateway.classic();
    for (path, body, pointer, code) in [
        ("/auth/request-code", json!({}), "/phone", "missing"),
        ("/auth/request-code", json!({"phone": 221_771_234_567_u64}), "/phone", "wrong_type"),
        ("/auth/verify-code", json!({"phone": NUMBER}), "/code", "missing"),
        ("/api/auth/login", json!({"email": AWA}), "/password", "missing"),
        ("/api/auth/login", json!({"email": AWA, "password": null}), "/password", "wrong_type"),
        ("/api/auth/login", json!({"email": [AWA], "password": PASSWORD}), "/email", "wrong_type"),
        ("/api/auth/login", json!({"email": {"$ne": ""}, "password": PASSWORD}), "/email", "wrong_type"),
        ("/api/auth/refresh", json!({}), "/refresh_token", "missing"),
    ] {
        let refused = door.post(path, &body).await.refused(400, "validation");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{path} {body}");
        assert_eq!(refused["errors"][0]["code"], code, "{path} {body}");
    }
}

async fn every_wrong_member_of_a_registration_is_named_at_once(gateway: Gateway) {
    let body = json!({"username": " ", "email": "awa", "password": "x".repeat(257), "phoneNumber": "1\n2"});
    let refused = gateway.classic().post("/api/auth/register", &body).await.refused(400, "validation");

    let pointers: Vec<_> = refused["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["/username", "/email", "/password", "/phoneNumber"]);
    assert!(!refused.text.contains("xxx"), "what was sent is never repeated");

    let short = json!({"username": "awa", "email": AWA, "password": "five5"});
    let refused = gateway.classic().post("/api/auth/register", &short).await.refused(400, "validation");
    assert_eq!(refused["errors"][0]["code"], "too_short");
}

async fn a_code_is_a_string(gateway: Gateway) {
    let door = gateway.classic();
    let code = request_code(door, NUMBER, 4).await;
    let number: u32 = code.parse().unwrap();

    let texted = door.post("/auth/verify-code", &json!({"phone": NUMBER, "code": number})).await;
    let mailed = door.post("/api/auth/verify-otp", &json!({"email": AWA, "otp": number})).await;

    assert_eq!(texted.refused(400, "validation")["errors"][0]["pointer"], "/code");
    assert_eq!(mailed.refused(400, "validation")["errors"][0]["pointer"], "/otp");
    verify_code(door, NUMBER, &code).await.expect(200);
}

async fn a_password_of_257_characters_is_refused_before_it_is_hashed(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;

    for long in ["x".repeat(257), "é".repeat(257), "x".repeat(60_000)] {
        // Were one of them compared, the account would be locked now.
        for _ in 0..6 {
            let refused = log_in(door, AWA, &long).await.refused(400, "validation");
            assert_eq!(refused["errors"][0]["pointer"], "/password");
        }
    }

    log_in(door, AWA, PASSWORD).await.expect(200);
    log_in(door, AWA, &"é".repeat(256)).await.refused(400, "invalid_credentials");
}

async fn unknown_members_are_ignored(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let body = json!({"email": AWA, "password": PASSWORD, "remember": true, "role": "admin", "client_id": null});

    let signed_in = door.post("/api/auth/login", &body).device(&device).await.expect(200);

    assert!(signed_in["user"]["role"].is_null());
}

async fn an_unknown_client_id_is_refused(gateway: Gateway) {
    let door = gateway.classic();
    let device = a_person(door, AWA).await;
    let with = |mut body: Value, client: &str| {
        body["client_id"] = json!(client);
        body
    };
    let login = json!({"email": AWA, "password": PASSWORD});
    for (path, body) in [
        ("/api/auth/login", login.clone()),
        ("/api/auth/verify-otp", json!({"email": AWA, "otp": "123456"})),
        ("/api/auth/register", json!({"username": "awa", "email": "b@example.com", "password": PASSWORD})),
        ("/auth/verify-code", json!({"phone": NUMBER, "code": "1234"})),
        ("/auth/register", json!({"phone": NUMBER, "first_name": "Awa", "last_name": "Diop"})),
    ] {
        for client in ["nobody", "", "first-party\u{0}", "FIRST-PARTY"] {
            door.post(path, &with(body.clone(), client)).await.refused(400, "unknown_client");
        }
    }
    door.post("/api/auth/login", &with(login, "first-party")).device(&device).await.expect(200);
}

async fn control_characters_never_get_through(gateway: Gateway) {
    let door = gateway.classic();
    a_person(door, AWA).await;
    for evil in ["\r\nBcc: all@example.com", "\n", "\u{0}", "\u{1b}[2J", "\u{7f}", "\u{85}"] {
        let middle = |text: &str| format!("{}{evil}{}", &text[..2], &text[2..]);
        let name = json!({"username": middle("awa"), "email": "b@example.com", "password": PASSWORD});
        door.post("/api/auth/register", &name).await.refused(400, "validation");
        let mail = json!({"username": "awa", "email": middle("b@example.com"), "password": PASSWORD});
        door.post("/api/auth/register", &mail).await.refused(400, "validation");
        log_in(door, &middle(AWA), PASSWORD).await.refused(400, "invalid_email");
        door.post("/auth/request-code", &json!({"phone": middle(NUMBER)})).await.refused(400, "invalid_phone");
        let given =
            json!({"username": "awa", "email": "b@example.com", "password": PASSWORD, "phoneNumber": middle("12345")});
        door.post("/api/auth/register", &given).await.refused(400, "validation");
        let name = json!({"phone": NUMBER, "first_name": middle("Awa"), "last_name": middle("Diop")});
        let refused = door.post("/auth/register", &name).await.refused(400, "validation");
        assert_eq!(refused["errors"].as_array().unwrap().len(), 2);
        // A password may hold anything; a code and a token are only wrong.
        assert!(log_in(door, AWA, &middle(PASSWORD)).await.status.is_client_error());
        verify_code(door, NUMBER, &middle("1234")).await.refused(400, "code_expired");
        let token = json!({"token": middle("token"), "password": PASSWORD});
        door.post("/api/auth/password/reset", &token).await.refused(400, "invalid_link");
    }
    assert_eq!(gateway.posted("b@example.com", "").await, 0);
}

async fn a_nul_is_only_wrong_wherever_it_stands(gateway: Gateway) {
    let door = gateway.classic();
    door.get("/api/auth/verify/a%00b").await.refused(400, "invalid_link");
    door.get("/.well-known/jwks.json?a=%00").await.expect(200);
    door.get("/forward-auth?audience=%00").await.refused(401, "missing_token");
    door.get("/hooks/default/a%00b?token=%00").await.refused(404, "not_found");
    door.get("/hooks/a%00b/main?token=x").await.expect(404);
    gateway.door("/t/a%00b").get("/api/auth/me").await.refused(404, "tenant_not_found");
    let app = gateway.new_app("default", "https://shop.test", &[]).await;
    app.post(door, "/oauth/introspect", &[("token", "\0")]).await.expect(200);
    app.post(door, "/oauth/token", &[("grant_type", "refresh_token"), ("refresh_token", "\0")]).await.expect(400);
    door.form("/oauth/introspect", &[("client_id", "\0"), ("client_secret", "\0"), ("token", "x")]).await.expect(401);
    let refresh = json!({"refresh_token": "\0"});
    door.post("/api/auth/refresh", &refresh).await.refused(401, "invalid_token");
    door.post("/api/auth/logout", &refresh).await.refused(401, "invalid_token");
    let proof = json!({"phone": NUMBER, "first_name": "Awa", "last_name": "Diop", "registration_token": "\0"});
    door.post("/auth/register", &proof).await.refused(403, "phone_not_verified");
    for challenge in ["\0", "0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10\0"] {
        let confirm = json!({"email": AWA, "otp": "12\u{0}456", "challenge_id": challenge});
        assert_eq!(door.post("/api/auth/verify-otp", &confirm).await.status, 400);
    }
    // What nobody reads may hold anything.
    log_in(door, AWA, "\0").await.refused(400, "invalid_credentials");
    let body = json!({"email": AWA, "password": PASSWORD, "unknown\u{0}": "\0"});
    door.post("/api/auth/login", &body).await.refused(400, "invalid_credentials");
}

async fn an_address_or_number_that_is_none_is_refused(gateway: Gateway) {
    let door = gateway.classic();
    for number in [
        "",
        "+",
        "123456789",
        "771234567",
        "+2217712345678901234567",
        "+1",
        "tel:+221771234567",
        "+221771234567;ext=1",
        "+999771234567",
    ] {
        door.post("/auth/request-code", &json!({"phone": number})).await.refused(400, "invalid_phone");
        verify_code(door, number, "1234").await.refused(400, "invalid_phone");
    }
    for address in
        ["", "@", "awa", "awa@", "@example.com", "a b@example.com", "awa@example", "a@b@example.com", "awa@[127.0.0.1]"]
    {
        log_in(door, address, PASSWORD).await.refused(400, "invalid_email");
        door.post("/api/auth/password/forgot", &json!({"email": address})).await.refused(400, "invalid_email");
    }
}

fn spellings() -> Vec<String> {
    let shapes = [
        "221771234567",
        "221 771234567",
        "221 77 123 45 67",
        "221-77-123-45-67",
        "221.77.123.45.67",
        "221/77/123/45/67",
        "221 (77) 123 45 67",
        "221\u{2011}77\u{2011}1234567",
        "221 77  1234567",
        "221\u{a0}77\u{a0}123\u{a0}45\u{a0}67",
    ];
    let wide = |text: &str| -> String {
        let wide = |c: char| match c {
            '0'..='9' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
            '+' => '\u{ff0b}',
            other => other,
        };
        text.chars().map(wide).collect()
    };
    let plain = shapes.iter().flat_map(|shape| [format!("+{shape}"), format!(" 00{shape} ")]);
    plain.flat_map(|spelling| [wide(&spelling), spelling]).collect()
}

async fn forty_spellings_of_a_number_are_one_number(gateway: Gateway) {
    let door = gateway.classic();
    let code = request_code(door, NUMBER, 4).await;

    let spellings = spellings();
    assert_eq!(spellings.len(), 40);
    for spelling in &spellings {
        // One limit.
        door.post("/auth/request-code", &json!({"phone": spelling})).await.refused(429, "too_many_requests");
    }
    // One challenge, one account.
    let proof = verify_code(door, &spellings[7], &code).await.expect(200).word("registration_token");
    let mut ids = Vec::new();
    for spelling in [&spellings[20], &spellings[33]] {
        let body = json!({"phone": spelling, "first_name": "Awa", "last_name": "Diop", "registration_token": proof});
        let answer = door.post("/auth/register", &body).await;
        ids.push(answer["user"]["phone"].clone());
    }
    assert_eq!(ids, [json!(NUMBER), Value::Null]);
    // An address of mail, too, is the same person however it is typed.
    let device = a_person(door, AWA).await;
    sign_in(door, "  AWA@EXAMPLE.COM", &device).await;
}
