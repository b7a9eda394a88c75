//! Bots that ask for codes to earn by them: what they cost, what they learn, and whom they hurt.

use std::net::Ipv4Addr;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{AWA, NUMBER, OTHER_NUMBER, Tokens, a_phone_person, minutes, request_code, seconds, verify_code};
use crate::delivery::provider::{Provider, answer};
use crate::harness::client::{Answer, Door};
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(
    pumping_one_prefix_from_everywhere_stops_at_its_ceiling_and_nobody_else_is_hurt,
    a_tenants_money_is_never_overdrawn_and_the_answer_does_not_tell,
    a_number_outside_the_regions_is_answered_like_any_other_and_nothing_leaves,
    a_new_tenant_sends_nowhere_until_it_says_where,
    a_region_whose_codes_never_come_back_is_stopped_for_strangers_only,
    record_mode_stops_nothing,
    one_network_cannot_spend_the_whole_budget,
    the_tenants_kill_switch_keeps_every_text_message_here,
    the_operators_kill_switch_keeps_every_tenants_text_messages_here,
    a_text_that_waits_for_another_try_does_not_outlive_the_kill_switch,
    no_kill_switch_lets_a_text_about_a_changed_contact_leave,
    a_text_about_a_changed_contact_costs_what_any_other_does,
    a_known_device_is_told_when_no_code_can_be_sent,
    many_tenants_together_do_not_flood_one_person,
    a_person_flooded_elsewhere_registers_and_only_the_mail_waits,
    an_administrator_is_told_that_a_person_had_a_day_s_messages,
    what_a_flooded_person_s_day_refuses_is_not_counted_for_the_administrator,
);

const FLOODED: &str = "flooded@example.com";

/// A Senegalese mobile; the first five digits after the country code are shared by a hundred of them.
fn number(prefix: u32, n: u32) -> String {
    format!("+22177{prefix:02}{n:05}")
}

fn address(n: u32) -> String {
    // Another /24 each.
    Ipv4Addr::from_bits(0x0a00_0001 + (n << 8)).to_string()
}

/// Asks for a code as a client of that address, which a trusted proxy states.
async fn ask_from(door: Door<'_>, phone: &str, address: &str) -> Answer {
    door.post("/auth/request-code", &json!({"phone": phone})).header("x-forwarded-for", address).await
}

async fn behind_a_proxy(gateway: Gateway) -> Gateway {
    gateway.restart(|config| config.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await
}

/// Every text message ever written.
async fn texts(gateway: &Gateway) -> usize {
    gateway.posted("+", "sign_in_code").await
}

fn budget(budget: &Value) -> Value {
    json!({"sms": {"regions": ["SN"], "budget": budget}})
}

async fn pumping_one_prefix_from_everywhere_stops_at_its_ceiling_and_nobody_else_is_hurt(gateway: Gateway) {
    let gateway = behind_a_proxy(gateway).await;
    let door = gateway.strict();

    let pumped = stream::iter(0..400_u32).map(|n| async move { ask_from(door, &number(12, n), &address(n / 2)).await });
    let answers: Vec<Answer> = pumped.buffer_unordered(16).collect().await;

    for answer in answers {
        assert_eq!(answer.expect(200).json, json!({"message": "Code sent", "expires_in": 300, "resend_in": 30}));
    }
    assert_eq!(texts(&gateway).await, 30);
    gateway.audited("sms_ceiling_reached", 1).await;
    // Somebody elsewhere gets theirs.
    let code = request_code(door, &number(81, 1), 6).await;
    verify_code(door, &number(81, 1), &code).await.expect(200);
}

async fn a_tenants_money_is_never_overdrawn_and_the_answer_does_not_tell(gateway: Gateway) {
    let money = budget(&json!({"costs": {"SN": 0.03, "*": 1}, "hour": {"money": 0.1}}));
    let gateway = behind_a_proxy(gateway.with_settings("strict", &money).await).await;
    let door = gateway.strict();

    let mut answers = Vec::new();
    for n in 0..40 {
        answers.push(ask_from(door, &number(n, n), &address(n)).await.expect(200).json);
    }

    // Three cost 0.09; a fourth would cost 0.12.
    assert_eq!(texts(&gateway).await, 3);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    gateway.audited("sms_ceiling_reached", 1).await;
    // Another tenant has its own.
    request_code(gateway.classic(), NUMBER, 4).await;
    gateway.clock.advance(minutes(66));
    request_code(door, NUMBER, 6).await;
}

async fn a_number_outside_the_regions_is_answered_like_any_other_and_nothing_leaves(gateway: Gateway) {
    let america = json!({"sms": {"regions": ["US"]}});
    let gateway = gateway.with_settings("strict", &america).await;
    let door = gateway.strict();
    let ask = |phone: &'static str| async move { door.post("/auth/request-code", &json!({"phone": phone})).await };
    let allowed = ask("+14155552671").await.expect(200);

    // Jamaica and the Dominican Republic share the calling code; Senegal does not.
    for outside in ["+18765551234", "+18095551234", NUMBER] {
        let refused = ask(outside).await;
        assert_eq!(refused.same_for_everybody(), allowed.same_for_everybody(), "{outside}");
        // The send is booked as any other.
        let again = ask(outside).await.refused(429, "too_many_requests");
        assert!((29..=30).contains(&again.retry_after()), "{outside}");
        verify_code(door, outside, "000000").await.refused(400, "invalid_code");
    }

    assert_eq!(texts(&gateway).await, 1);
    gateway.inbox.next("+14155552671").await;
    gateway.audited("sms_region_refused", 3).await;
    // A landline of a listed region receives no text either, and the same hour tells nothing new.
    let classic = gateway.classic();
    classic.post("/auth/request-code", &json!({"phone": "+221338210000"})).await.expect(200);
    assert_eq!(gateway.posted("+221338210000", "sign_in_code").await, 0);
    gateway.audited("sms_region_refused", 4).await;
}

async fn a_new_tenant_sends_nowhere_until_it_says_where(gateway: Gateway) {
    let gateway = gateway.with_settings("strict", &json!({})).await;

    gateway.strict().post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);

    assert_eq!(texts(&gateway).await, 0);
}

async fn a_region_whose_codes_never_come_back_is_stopped_for_strangers_only(gateway: Gateway) {
    let ratio = budget(&json!({"ratio": {"hour": 10, "percent": 50, "pause": 3600}}));
    let gateway = gateway.with_settings("strict", &ratio).await;
    let door = gateway.strict();
    a_phone_person(door, NUMBER, 6).await;
    for n in 0..12 {
        door.post("/auth/request-code", &json!({"phone": number(n, n)})).await.expect(200);
    }
    assert_eq!(texts(&gateway).await, 13);
    gateway.clock.advance(minutes(10));

    for n in 20..25 {
        door.post("/auth/request-code", &json!({"phone": number(n, n)})).await.expect(200);
    }

    assert_eq!(texts(&gateway).await, 13);
    gateway.audited("sms_region_stopped", 1).await;
    request_code(door, NUMBER, 6).await;
    gateway.clock.advance(minutes(60));
    request_code(door, &number(30, 1), 6).await;
}

async fn record_mode_stops_nothing(gateway: Gateway) {
    let record = budget(&json!({"mode": "record", "hour": {"messages": 0}, "prefix": {"hour": 1, "day": 1}}));
    let gateway = gateway.with_settings("strict", &record).await;

    for n in 0..3 {
        request_code(gateway.strict(), &number(12, n), 6).await;
    }

    gateway.audited("sms_ceiling_recorded", 1).await;
}

async fn one_network_cannot_spend_the_whole_budget(gateway: Gateway) {
    let client = budget(&json!({"client": {"hour": 3, "day": 9}}));
    let gateway = behind_a_proxy(gateway.with_settings("strict", &client).await).await;
    let door = gateway.strict();

    for n in 0..6 {
        // Addresses of one /48 are one network.
        ask_from(door, &number(n, n), &format!("2001:db8:7:{n}::1")).await.expect(200);
    }

    assert_eq!(texts(&gateway).await, 3);
    ask_from(door, &number(40, 1), "2001:db8:8::1").await.expect(200);
    assert_eq!(texts(&gateway).await, 4);
}

async fn the_tenants_kill_switch_keeps_every_text_message_here(gateway: Gateway) {
    let gateway = gateway.with_settings("strict", &budget(&json!({"stopped": true}))).await;

    gateway.strict().post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);

    assert_eq!(texts(&gateway).await, 0);
    gateway.audited("sms_ceiling_reached", 1).await;
    request_code(gateway.classic(), NUMBER, 4).await;
}

async fn the_operators_kill_switch_keeps_every_tenants_text_messages_here(gateway: Gateway) {
    let gateway = gateway.restart(|config| config.delivery.sms_stopped = true).await;

    for door in [gateway.classic(), gateway.strict()] {
        door.post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);
    }

    assert_eq!(texts(&gateway).await, 0);
    // Mail goes on.
    super::a_person(gateway.classic(), super::AWA).await;
}

async fn a_text_that_waits_for_another_try_does_not_outlive_the_kill_switch(gateway: Gateway) {
    let provider = Provider::always(answer(503, "{}")).await;
    let sender = json!({"kind": "http", "url": provider.url(), "body": {"to": "{to}", "code": "{code}"}});
    let settings = |stopped: bool| json!({"sms": {"mode": "own", "senders": [sender], "budget": {"stopped": stopped}}});
    let gateway = gateway.with_settings("other", &settings(false)).await;
    gateway.other().post("/auth/request-code", &json!({"phone": NUMBER})).await.expect(200);
    gateway.until(|| async { !provider.asked().is_empty() }).await;

    let gateway = gateway.with_settings("other", &settings(true)).await;

    gateway.clock.advance(seconds(30));
    let tried = async || {
        let log = gateway.admin().get("/tenants/other/messages").bearer(ROOT_KEY).await.expect(200);
        log["items"].as_array().unwrap().clone()
    };
    gateway.until(|| async { tried().await[0]["message_state"] == "dead" }).await;
    let tried = tried().await;
    assert_eq!((&tried[0]["state"], &tried[0]["code"]), (&json!("skipped"), &json!("sms_stopped")));
    assert_eq!(provider.asked().len(), tried.len() - 1);
}

/// Another address for somebody with a number, who is told of it.
async fn move_to(door: Door<'_>, awa: &Tokens, address: &str) {
    let ask = json!({"email": address});
    door.post("/api/auth/contact/change", &ask).bearer(&awa.access).await.expect(200);
    let code = door.gateway().inbox.next_with(address, "is your code to use").await.code(6);
    let body = json!({"email": address, "code": code});
    door.post("/api/auth/contact/confirm", &body).bearer(&awa.access).await.expect(200);
    assert_eq!(door.gateway().posted(address, "contact_changed\"").await, 1);
}

async fn no_kill_switch_lets_a_text_about_a_changed_contact_leave(gateway: Gateway) {
    let awa = a_phone_person(gateway.classic(), NUMBER, 4).await;
    let told = async |gateway: &Gateway| gateway.posted(NUMBER, "contact_changed\"").await;

    let gateway = gateway.with_settings("default", &json!({"sms": {"budget": {"stopped": true}}})).await;
    move_to(gateway.classic(), &awa, AWA).await;
    assert_eq!(told(&gateway).await, 0);

    let gateway = gateway.with_settings("default", &json!({})).await;
    let gateway = gateway.restart(|config| config.delivery.sms_stopped = true).await;
    gateway.clock.advance(seconds(31));
    move_to(gateway.classic(), &awa, "awa.two@example.com").await;
    assert_eq!(told(&gateway).await, 0);

    let gateway = gateway.restart(|config| config.delivery.sms_stopped = false).await;
    gateway.clock.advance(seconds(31));
    move_to(gateway.classic(), &awa, "awa.three@example.com").await;
    assert_eq!(told(&gateway).await, 1);
}

async fn a_text_about_a_changed_contact_costs_what_any_other_does(gateway: Gateway) {
    let gateway = gateway.with_settings("strict", &budget(&json!({"hour": {"messages": 2}}))).await;
    let door = gateway.strict();
    let awa = a_phone_person(door, NUMBER, 6).await;

    move_to(door, &awa, AWA).await;
    assert_eq!(gateway.posted(NUMBER, "contact_changed\"").await, 1);

    // The code was the first, the notice the second: there is no third of either.
    door.post("/auth/request-code", &json!({"phone": OTHER_NUMBER})).await.expect(200);
    assert_eq!(gateway.posted(OTHER_NUMBER, "sign_in_code").await, 0);
    gateway.clock.advance(seconds(31));
    move_to(door, &awa, "awa.two@example.com").await;
    assert_eq!(gateway.posted(NUMBER, "contact_changed\"").await, 1);
    gateway.audited("sms_ceiling_reached", 1).await;
}

async fn a_known_device_is_told_when_no_code_can_be_sent(gateway: Gateway) {
    let device = a_phone_person(gateway.classic(), NUMBER, 4).await.device.expect("a new device is trusted");
    let gateway = gateway.with_settings("default", &json!({"sms": {"budget": {"stopped": true}}})).await;
    let door = gateway.classic();
    gateway.clock.advance(minutes(1));
    let ask = json!({"phone": NUMBER});

    for _ in 0..4 {
        // Its send is given back each time: three an hour would be its own.
        door.post("/auth/request-code", &ask).device(&device).await.refused(503, "dependency_unavailable");
    }

    // To anybody else the number looks like any other.
    door.post("/auth/request-code", &ask).await.expect(200);
    assert_eq!(texts(&gateway).await, 1);
}

async fn many_tenants_together_do_not_flood_one_person(gateway: Gateway) {
    let often = json!({"otp": {"resend": {"cooldown": 15, "per_hour": 20, "per_day": 50}}});
    let gateway = gateway.with_settings("default", &often).await.with_settings("other", &often).await;
    let ask = json!({"phone": NUMBER});
    for round in 0..3 {
        for door in [gateway.classic(), gateway.other()] {
            for _ in 0..if round == 2 { 5 } else { 10 } {
                door.post("/auth/request-code", &ask).await.expect(200);
                gateway.clock.advance(seconds(15));
            }
        }
        gateway.clock.advance(minutes(60));
    }
    assert_eq!(texts(&gateway).await, 50);

    for door in [gateway.classic(), gateway.other(), gateway.strict()] {
        door.post("/auth/request-code", &ask).await.expect(200);
    }

    assert_eq!(texts(&gateway).await, 50);
    gateway.audited("recipient_ceiling_reached", 3).await;
    gateway.clock.advance(minutes(24 * 60));
    gateway.strict().post("/auth/request-code", &ask).await.expect(200);
    assert_eq!(texts(&gateway).await, 51);
}

/// Somebody of another tenant, who had a day's messages.
async fn flooded(gateway: Gateway) -> Gateway {
    let often = json!({"otp": {"resend": {"cooldown": 15, "per_hour": 20, "per_day": 50}}});
    let gateway = gateway.with_settings("other", &often).await;
    let other = gateway.other();
    super::a_person(other, FLOODED).await;
    let log_in = json!({"email": FLOODED, "password": super::PASSWORD});
    // A registration's mail was one; the codes for new devices make fifty.
    for n in 0..49 {
        if n % 20 == 0 {
            gateway.clock.advance(minutes(61));
        }
        gateway.clock.advance(seconds(15));
        other.post("/api/auth/login", &log_in).await.expect(200);
    }
    assert_eq!(gateway.posted(FLOODED, "device_code").await, 49);
    gateway
}

async fn a_person_flooded_elsewhere_registers_and_only_the_mail_waits(gateway: Gateway) {
    let gateway = flooded(gateway).await;

    super::register(gateway.classic(), FLOODED).await.expect(201);

    assert_eq!(gateway.posted(FLOODED, "verification").await, 1);
    gateway.clock.advance(minutes(23 * 60));
    let ask = json!({"email": FLOODED});
    gateway.classic().post("/api/auth/resend-verification", &ask).await.expect(200);
    gateway.inbox.next_with(FLOODED, "/t/default/").await;
}

async fn an_administrator_is_told_that_a_person_had_a_day_s_messages(gateway: Gateway) {
    let gateway = flooded(gateway).await;
    let ask = |path: &str, body: &Value| gateway.admin().post(&format!("/tenants/{path}"), body).bearer(ROOT_KEY);
    let found = gateway.admin().get(&format!("/tenants/other/users?email={FLOODED}")).bearer(ROOT_KEY).await;
    let person = format!("other/users/{}", found["items"][0]["id"].as_str().unwrap());

    let invited = ask("default/users", &json!({"email": FLOODED})).await.refused(429, "too_many_requests");
    let reset = ask(&format!("{person}/reset"), &json!({})).await.refused(429, "too_many_requests");

    // The first of the day's messages is some three hours old.
    for refused in [invited, reset] {
        assert!((72_000..80_000).contains(&refused.retry_after()), "{}", refused.retry_after());
    }
    for kind in ["invitation", "password_reset"] {
        assert_eq!(gateway.posted(FLOODED, kind).await, 0, "{kind}");
    }
    // No flood keeps a password that others know from being withdrawn.
    ask(&format!("{person}/mark-compromised"), &json!({})).await.expect(204);
    assert_eq!(gateway.posted(FLOODED, "password_reset").await, 1);
    gateway.clock.advance(minutes(23 * 60));
    ask("default/users", &json!({"email": FLOODED})).await.expect(201);
    gateway.inbox.next_with(FLOODED, "/invitation/").await;
}

async fn what_a_flooded_person_s_day_refuses_is_not_counted_for_the_administrator(gateway: Gateway) {
    let gateway = flooded(gateway).await;
    let ask = |path: &str, body: &Value| gateway.admin().post(&format!("/tenants/{path}"), body).bearer(ROOT_KEY);
    let found = gateway.admin().get(&format!("/tenants/other/users?email={FLOODED}")).bearer(ROOT_KEY).await;
    let person = format!("other/users/{}", found["items"][0]["id"].as_str().unwrap());
    // As many as an administrator may cause in a day.
    for _ in 0..10 {
        ask("default/users", &json!({"email": FLOODED})).await.refused(429, "too_many_requests");
        ask(&format!("{person}/reset"), &json!({})).await.refused(429, "too_many_requests");
        gateway.clock.advance(minutes(13));
    }

    ask(&format!("{person}/mark-compromised"), &json!({})).await.expect(204);
    gateway.clock.advance(minutes(21 * 60));
    ask("default/users", &json!({"email": FLOODED})).await.expect(201);

    assert_eq!(gateway.posted(FLOODED, "password_reset").await, 1);
    assert_eq!(gateway.posted(FLOODED, "invitation").await, 1);
}
