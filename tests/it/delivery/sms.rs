//! SMS providers: what each is asked, and what is made of each of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use guichet::clock::Clock;
use guichet::delivery::sms::{
    self, AfricasTalkingSettings, HttpBody, HttpMethod, HttpSettings, InfobipSettings, OrangeSettings, SmsOptions,
    SmsProvider, SuccessRule, TwilioSettings, VonageSettings,
};
use guichet::delivery::{DeliveryError, Envelope, Receipt, Stage};
use guichet::secret::SecretString;
use serde_json::json;

use super::provider::{Asked, Provider, Reply, answer, options, sms};

const TEXT: &str = "482913 est votre code.";

async fn send(provider: SmsProvider, envelope: &Envelope) -> Result<Receipt, DeliveryError> {
    sms::sender(provider, &options()).unwrap().send(envelope).await
}

/// Stage, may it be asked again, reason; or the reference.
fn told(outcome: Result<Receipt, DeliveryError>) -> Result<String, (Stage, bool, String)> {
    match outcome {
        Ok(receipt) => Ok(receipt.reference.unwrap_or_default()),
        Err(error) => {
            assert!(error.is_definite(), "{error}");
            assert!(!format!("{error} {error:?}").contains("771234567"), "{error}");
            Err((error.stage(), matches!(error, DeliveryError::Temporary { .. }), error.reason().to_string()))
        }
    }
}

fn refused<T>(stage: Stage, reason: &str) -> Result<T, (Stage, bool, String)> {
    Err((stage, false, reason.to_owned()))
}

fn later<T>(stage: Stage, reason: &str) -> Result<T, (Stage, bool, String)> {
    Err((stage, true, reason.to_owned()))
}

// ---------------------------------------------------------------- Twilio

fn twilio(base_url: String) -> TwilioSettings {
    TwilioSettings {
        account_sid: "AC0123456789abcdef0123456789abcdef".into(),
        auth_token: "s3cret".into(),
        from: Some("+15005550006".into()),
        messaging_service_sid: None,
        base_url: Some(base_url),
    }
}

#[tokio::test]
async fn a_late_code_expires_on_twilios_side_too() {
    let provider = Provider::always(answer(201, r#"{"sid":"SM1","status":"queued"}"#)).await;
    let clock = Clock::system();
    let sender =
        sms::sender(SmsProvider::Twilio(twilio(provider.url())), &SmsOptions { clock: clock.clone(), ..options() });
    let sender = sender.unwrap();
    let not_after = clock.now() + Duration::from_secs(300);

    for (passed, expected) in [(0, 200..=300), (250, 1..=50), (100, 1..=1)] {
        clock.advance(Duration::from_secs(passed));
        sender.send(&Envelope { not_after: Some(not_after), ..sms(TEXT) }).await.unwrap();
        let form = provider.asked().pop().unwrap().form();
        let period = form.iter().find(|(name, _)| name == "ValidityPeriod").unwrap();
        assert!(expected.contains(&period.1.parse::<u64>().unwrap()), "{period:?}");
    }
}

#[test]
fn half_set_twilio_settings_are_refused() {
    let good = || twilio("https://api.twilio.com".into());
    let service = Some("MG0123456789abcdef0123456789abcdef".to_owned());
    let invalid = |settings| sms::sender(SmsProvider::Twilio(settings), &options()).err().map(|error| error.setting);

    assert_eq!(invalid(good()), None);
    assert_eq!(invalid(TwilioSettings { from: None, messaging_service_sid: service.clone(), ..good() }), None);
    assert_eq!(invalid(TwilioSettings { from: None, ..good() }), Some("from"));
    assert_eq!(invalid(TwilioSettings { messaging_service_sid: service, ..good() }), Some("from"));
    assert_eq!(invalid(TwilioSettings { account_sid: "AC1/../x".into(), ..good() }), Some("account_sid"));
    assert_eq!(invalid(TwilioSettings { auth_token: "a\nb".into(), ..good() }), None, "base64 hides it");
    assert_eq!(invalid(twilio("https://api.twilio.com?x=1".into())), Some("base_url"));
    assert_eq!(invalid(twilio("https://10.0.0.1".into())), Some("base_url"));
}

// ---------------------------------------------------------------- Orange

fn orange(base_url: String) -> SmsProvider {
    SmsProvider::Orange(OrangeSettings {
        client_id: "app".into(),
        client_secret: "s3cret".into(),
        sender_address: "+2210000".into(),
        sender_name: Some("ACME".into()),
        base_url: Some(base_url),
    })
}

const RESOURCE: &str = r#"{"outboundSMSMessageRequest":{"address":["tel:+221771234567"],"senderAddress":"tel:+2210000",
    "outboundSMSTextMessage":{"message":"…"},
    "resourceURL":"https://api.orange.com/smsmessaging/v1/outbound/tel:+2210000/requests/8ee6b1f4-1d50"}}"#;

fn is_token(asked: &Asked) -> bool {
    asked.target == "/oauth/v3/token"
}

/// Gives out tokens `t1`, `t2`, …, with that life, and takes those that `good` says.
async fn orange_server(expires_in: &str, good: impl Fn(&str) -> bool + Send + Sync + 'static) -> Provider {
    let (given, life) = (AtomicUsize::new(0), expires_in.to_owned());
    Provider::start(move |asked| {
        if is_token(asked) {
            let token = format!("t{}", given.fetch_add(1, Ordering::SeqCst) + 1);
            return answer(200, &format!(r#"{{"token_type":"Bearer","access_token":"{token}","expires_in":{life}}}"#));
        }
        match asked.header("authorization").strip_prefix("Bearer ") {
            Some(token) if good(token) => answer(201, RESOURCE),
            _ => answer(401, r#"{"code":42,"message":"Expired credentials"}"#),
        }
    })
    .await
}

#[tokio::test]
async fn orange_is_asked_as_its_reference_says() {
    let provider = orange_server(r#""3600""#, |token| token == "t1").await;

    let receipt = send(orange(provider.url()), &sms(TEXT)).await.unwrap();

    assert_eq!(receipt.reference.as_deref(), Some("8ee6b1f4-1d50"));
    let asked = provider.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].method.as_str(), asked[0].target.as_str()), ("POST", "/oauth/v3/token"));
    assert_eq!(asked[0].header("authorization"), "Basic YXBwOnMzY3JldA==");
    assert_eq!(asked[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(asked[0].body, "grant_type=client_credentials");
    assert_eq!(asked[1].target, "/smsmessaging/v1/outbound/tel%3A%2B2210000/requests");
    assert_eq!(asked[1].header("authorization"), "Bearer t1");
    assert_eq!(
        asked[1].json(),
        json!({"outboundSMSMessageRequest":{"address":"tel:+221771234567","senderAddress":"tel:+2210000",
            "senderName":"ACME","outboundSMSTextMessage":{"message":TEXT}}})
    );
}

#[tokio::test]
async fn oranges_token_is_kept_until_shortly_before_its_end() {
    for life in [r#""3600""#, "3600"] {
        let provider = orange_server(life, |_| true).await;
        let clock = Clock::system();
        let sender = sms::sender(orange(provider.url()), &SmsOptions { clock: clock.clone(), ..options() }).unwrap();
        let tokens = || provider.asked().iter().filter(|asked| is_token(asked)).count();

        sender.send(&sms(TEXT)).await.unwrap();
        clock.advance(Duration::from_secs(3_500));
        sender.send(&sms(TEXT)).await.unwrap();
        assert_eq!(tokens(), 1, "{life}");
        clock.advance(Duration::from_secs(50));
        sender.send(&sms(TEXT)).await.unwrap();
        assert_eq!(tokens(), 2, "{life}");
    }
}

#[tokio::test]
async fn a_token_that_orange_takes_back_is_renewed_once() {
    let provider = orange_server("3600", |token| token == "t2").await;

    let outcome = send(orange(provider.url()), &sms(TEXT)).await;

    assert_eq!(told(outcome), Ok("8ee6b1f4-1d50".into()));
    assert_eq!(provider.asked().len(), 4, "token, refused, token, taken");
    let provider = orange_server("3600", |_| false).await;
    let outcome = send(orange(provider.url()), &sms(TEXT)).await;
    assert_eq!(told(outcome), refused(Stage::Auth, "42"));
    assert_eq!(provider.asked().len(), 4, "no third try");
}

#[tokio::test]
async fn parallel_messages_share_one_token() {
    let provider = orange_server("3600", |_| true).await;
    let sender = sms::sender(orange(provider.url()), &options()).unwrap();

    let sends = (0..20).map(|_| {
        let sender = Arc::clone(&sender);
        tokio::spawn(async move { sender.send(&sms(TEXT)).await })
    });
    for outcome in futures_util::future::join_all(sends).await {
        outcome.unwrap().unwrap();
    }

    assert_eq!(provider.asked().iter().filter(|asked| is_token(asked)).count(), 1);
    assert_eq!(provider.asked().len(), 21);
}

#[tokio::test]
async fn a_failed_token_is_told_at_auth_and_tried_again_by_the_next_message() {
    let refusals = AtomicUsize::new(0);
    let provider = Provider::start(move |asked| match (is_token(asked), refusals.load(Ordering::SeqCst)) {
        (true, 0) => {
            refusals.store(1, Ordering::SeqCst);
            answer(401, r#"{"error":"invalid_client","error_description":"…"}"#)
        }
        (true, _) => answer(200, r#"{"access_token":"t","expires_in":"3600"}"#),
        (false, _) => answer(201, RESOURCE),
    })
    .await;
    let sender = sms::sender(orange(provider.url()), &options()).unwrap();

    assert_eq!(told(sender.send(&sms(TEXT)).await), refused(Stage::Auth, "invalid_client"));
    assert_eq!(told(sender.send(&sms(TEXT)).await), Ok("8ee6b1f4-1d50".into()));
}

#[tokio::test]
async fn silence_about_a_token_means_that_nothing_was_sent() {
    let provider = Provider::always(Reply::Silence).await;
    let short = SmsOptions { timeout: Duration::from_secs(2), ..options() };

    let outcome = sms::sender(orange(provider.url()), &short).unwrap().send(&sms(TEXT)).await;

    assert_eq!(told(outcome), later(Stage::Auth, "time_out"));
}

#[tokio::test]
async fn oranges_refusals_are_told_by_their_code() {
    let says = async |status, body: &'static str| {
        let provider = Provider::start(move |asked| {
            if is_token(asked) {
                answer(200, r#"{"access_token":"t","expires_in":"3600"}"#)
            } else {
                answer(status, body)
            }
        })
        .await;
        told(send(orange(provider.url()), &sms(TEXT)).await)
    };
    let service = r#"{"requestError":{"serviceException":{"messageId":"SVC0004","text":"No valid addresses provided in message part %1","variables":["tel:+221771234567"]}}}"#;
    let length = r#"{"requestError":{"serviceException":{"messageId":"SVC0280","text":"Message too long"}}}"#;
    let policy = r#"{"requestError":{"policyException":{"messageId":"POL0001","text":"A policy error occurred"}}}"#;

    assert_eq!(says(400, service).await, refused(Stage::Recipient, "SVC0004"));
    assert_eq!(says(400, length).await, refused(Stage::Recipient, "SVC0280"));
    assert_eq!(says(403, policy).await, later(Stage::Sender, "POL0001"));
    assert_eq!(says(403, "{}").await, refused(Stage::Auth, "403"));
}

// ---------------------------------------------------------------- the presets

fn vonage(base_url: String) -> SmsProvider {
    SmsProvider::Vonage(VonageSettings {
        api_key: "key".into(),
        api_secret: "s3cret".into(),
        from: "ACME & Co {to}".into(),
        base_url: Some(base_url),
    })
}

#[tokio::test]
async fn vonages_200_is_no_success_by_itself() {
    let says = async |body: &str| {
        let provider = Provider::always(answer(200, body)).await;
        told(send(vonage(provider.url()), &sms(TEXT)).await)
    };
    let status = |status: &str| {
        format!(r#"{{"message-count":"1","messages":[{{"status":"{status}","error-text":"to +221771234567"}}]}}"#)
    };

    let good = r#"{"message-count":"1","messages":[{"to":"221771234567","message-id":"0A01","status":"0"}]}"#;
    assert_eq!(says(good).await, Ok("0A01".into()));
    assert_eq!(says(&status("1")).await, later(Stage::Recipient, "1"));
    assert_eq!(says(&status("4")).await, refused(Stage::Auth, "4"));
    assert_eq!(says(&status("15")).await, refused(Stage::Sender, "15"));
    assert_eq!(says(&status("7")).await, refused(Stage::Recipient, "7"));
    assert_eq!(says(r#"{"message-count":"0","messages":[]}"#).await, refused(Stage::Recipient, "200"));
}

#[tokio::test]
async fn vonage_is_told_the_alphabet_and_where_to_report() {
    let provider = Provider::always(answer(200, r#"{"messages":[{"status":"0","message-id":"1"}]}"#)).await;
    let callback = "https://auth.example.com/hooks/acme/vonage?secret=abc&x=1".to_owned();
    let with_callback = SmsOptions { callback: Some(callback.clone()), ..options() };
    let sender = sms::sender(vonage(provider.url()), &with_callback).unwrap();

    sender.send(&sms("482913 is your code.")).await.unwrap();
    sender.send(&sms("482913 est votre code, sûr")).await.unwrap();

    let field = |asked: &Asked, name: &str| asked.form().into_iter().find(|(known, _)| known == name).unwrap().1;
    let asked = provider.asked();
    assert_eq!((field(&asked[0], "type").as_str(), field(&asked[1], "type").as_str()), ("text", "unicode"));
    assert_eq!(field(&asked[0], "callback"), callback);
    assert_eq!(field(&asked[0], "from"), "ACME & Co {to}", "a setting is no template");
}

fn africas_talking(base_url: String) -> SmsProvider {
    SmsProvider::AfricasTalking(AfricasTalkingSettings {
        username: "acme".into(),
        api_key: "s3cret".into(),
        from: Some("ACME".into()),
        base_url: Some(base_url),
    })
}

#[tokio::test]
async fn africas_talkings_201_is_no_success_by_itself() {
    let says = async |body: &str| {
        let provider = Provider::always(answer(201, body)).await;
        told(send(africas_talking(provider.url()), &sms(TEXT)).await)
    };
    let recipient = |code: u32, status: &str| {
        format!(
            r#"{{"SMSMessageData":{{"Message":"Sent to 0/1","Recipients":[{{"statusCode":{code},
            "number":"+221771234567","status":"{status}","cost":"0","messageId":"ATXid_1"}}]}}}}"#
        )
    };

    for code in [100, 101, 102] {
        assert_eq!(says(&recipient(code, "Success")).await, Ok("ATXid_1".into()));
    }
    assert_eq!(says(&recipient(401, "RiskHold")).await, refused(Stage::Recipient, "401"));
    assert_eq!(says(&recipient(402, "InvalidSenderId")).await, refused(Stage::Sender, "402"));
    assert_eq!(says(&recipient(403, "InvalidPhoneNumber")).await, refused(Stage::Recipient, "403"));
    assert_eq!(says(&recipient(405, "InsufficientBalance")).await, refused(Stage::Sender, "405"));
    assert_eq!(says(&recipient(500, "InternalServerError")).await, later(Stage::Recipient, "500"));
    let nobody = r#"{"SMSMessageData":{"Message":"InvalidSenderId","Recipients":[]}}"#;
    assert_eq!(says(nobody).await, refused(Stage::Recipient, "201"));
    let provider = Provider::always(answer(401, "The supplied authentication is invalid")).await;
    let outcome = send(africas_talking(provider.url()), &sms(TEXT)).await;
    assert_eq!(told(outcome), refused(Stage::Auth, "401"));
}

fn infobip(base_url: String) -> SmsProvider {
    SmsProvider::Infobip(InfobipSettings { api_key: "s3cret".into(), from: "ACME".into(), base_url: Some(base_url) })
}

#[tokio::test]
async fn infobip_tells_a_rejection_in_a_200() {
    let says = async |status, body: &str| {
        let provider = Provider::always(answer(status, body)).await;
        told(send(infobip(provider.url()), &sms(TEXT)).await)
    };
    let group = |group: u32, name: &str| {
        format!(
            r#"{{"bulkId":"b","messages":[{{"messageId":"m1","destination":"221771234567",
            "status":{{"groupId":{group},"groupName":"{name}","id":26,"name":"{name}"}}}}]}}"#
        )
    };

    assert_eq!(says(200, &group(1, "PENDING")).await, Ok("m1".into()));
    assert_eq!(says(200, &group(5, "REJECTED")).await, refused(Stage::Recipient, "5"));
    let invalid =
        r#"{"requestError":{"serviceException":{"messageId":"UNAUTHORIZED","text":"Invalid login details"}}}"#;
    assert_eq!(says(401, invalid).await, refused(Stage::Auth, "UNAUTHORIZED"));
}

#[tokio::test]
async fn infobip_is_told_where_to_report() {
    let body = r#"{"messages":[{"messageId":"m1","status":{"groupId":1}}]}"#;
    let provider = Provider::always(answer(200, body)).await;
    let callback = "https://auth.example.com/hooks/acme/infobip/abc".to_owned();
    let with_callback = SmsOptions { callback: Some(callback.clone()), ..options() };

    sms::sender(infobip(provider.url()), &with_callback).unwrap().send(&sms(TEXT)).await.unwrap();

    let message = &provider.only().json()["messages"][0];
    assert_eq!(message["webhooks"]["delivery"]["url"], callback);
}

// ---------------------------------------------------------------- any other provider

fn any(url: String) -> HttpSettings {
    HttpSettings {
        url,
        method: HttpMethod::Post,
        headers: Vec::new(),
        body: HttpBody::Empty,
        success: SuccessRule::default(),
    }
}

fn headers(all: &[(&str, &str)]) -> Vec<(String, SecretString)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

const HOSTILE: &str = "a&b=c\"}],\"x\":1 \\ %20 +é\n\u{2028}<t>{code}{to}";

#[tokio::test]
async fn no_text_breaks_out_of_its_place_in_the_request() {
    let provider = Provider::always(answer(200, "")).await;

    let query = HttpSettings {
        method: HttpMethod::Get,
        ..any(format!("{}/s/{{text}}?to={{to}}&text={{text}}&end=1", provider.url()))
    };
    send(SmsProvider::Http(query), &sms(HOSTILE)).await.unwrap();
    let form = HttpSettings {
        headers: headers(&[("Content-Type", "application/x-www-form-urlencoded")]),
        body: HttpBody::Text("to={to}&text={text}&code={code}".into()),
        ..any(provider.url())
    };
    send(SmsProvider::Http(form), &sms(HOSTILE)).await.unwrap();
    let text = HttpSettings {
        headers: headers(&[("content-type", "application/json")]),
        body: HttpBody::Text(r#"{"to":"{to}","text":"{text}"}"#.into()),
        ..any(provider.url())
    };
    send(SmsProvider::Http(text), &sms(HOSTILE)).await.unwrap();
    let object = HttpSettings {
        body: HttpBody::Json(json!({"messages":[{"to":"{to_digits}","text":"{text}","n":1,"id":"{reference}"}]})),
        ..any(provider.url())
    };
    send(SmsProvider::Http(object), &sms(HOSTILE)).await.unwrap();
    let plain = HttpSettings { body: HttpBody::Text("{to}: {text}".into()), ..any(provider.url()) };
    send(SmsProvider::Http(plain), &sms(HOSTILE)).await.unwrap();

    let asked = provider.asked();
    let query: Vec<_> =
        form_urlencoded::parse(asked[0].target.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(query, [pair("to", "+221771234567"), pair("text", HOSTILE), pair("end", "1")]);
    assert_eq!(asked[0].target.matches('/').count(), 2, "{}", asked[0].target);
    assert_eq!(asked[1].form(), [pair("code", "482913"), pair("text", HOSTILE), pair("to", "+221771234567")]);
    assert_eq!(asked[2].json(), json!({"to":"+221771234567","text":HOSTILE}));
    let id = "07070707-0707-4707-8707-070707070707";
    assert_eq!(asked[3].json(), json!({"messages":[{"to":"221771234567","text":HOSTILE,"n":1,"id":id}]}));
    assert_eq!(asked[3].header("content-type"), "application/json");
    assert_eq!(asked[4].body, format!("+221771234567: {HOSTILE}"));
    assert_eq!(asked[4].header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn a_text_never_becomes_a_second_header() {
    let provider = Provider::always(answer(200, "")).await;
    let settings =
        HttpSettings { headers: headers(&[("x-text", "{text}"), ("x-ref", "{reference}")]), ..any(provider.url()) };
    let sender = sms::sender(SmsProvider::Http(settings), &options()).unwrap();

    let error = sender.send(&sms("a\r\nx-admin: 1")).await.unwrap_err();
    sender.send(&sms("hello")).await.unwrap();

    assert_eq!(
        error,
        DeliveryError::Refused { stage: Stage::Sender, reason: guichet::delivery::Reason::word("request_malformed") }
    );
    assert_eq!(provider.only().header("x-ref"), "07070707-0707-4707-8707-070707070707");
}

#[tokio::test]
async fn the_rule_decides_what_success_is() {
    let says = async |success: SuccessRule, status, body: &str| {
        let provider = Provider::always(answer(status, body)).await;
        told(send(SmsProvider::Http(HttpSettings { success, ..any(provider.url()) }), &sms(TEXT)).await)
    };
    let id = "07070707-0707-4707-8707-070707070707";
    let rule = |text: &str| serde_json::from_str::<SuccessRule>(text).unwrap();
    let strict = r#"{"status":[200,201],"pointer":"/messages/0/status","equals":"0","reference":"/messages/0/id"}"#;

    assert_eq!(says(SuccessRule::default(), 204, "").await, Ok(id.into()));
    assert_eq!(says(SuccessRule::default(), 302, "").await, refused(Stage::Sender, "302"));
    assert_eq!(says(rule(strict), 200, r#"{"messages":[{"status":0,"id":7}]}"#).await, Ok("7".into()));
    assert_eq!(says(rule(strict), 200, r#"{"messages":[{"status":"9"}]}"#).await, refused(Stage::Recipient, "9"));
    assert_eq!(says(rule(strict), 202, r#"{"messages":[{"status":"0"}]}"#).await, refused(Stage::Recipient, "0"));
    assert_eq!(says(rule(r#"{"pointer":"/id"}"#), 200, r#"{"id":"x"}"#).await, Ok(id.into()));
    assert_eq!(says(rule(r#"{"pointer":"/id"}"#), 200, "{}").await, refused(Stage::Recipient, "200"));
    // A whole answer in another language is an answer: the next sender is asked.
    assert_eq!(says(rule(strict), 200, "ERROR: no credit").await, refused(Stage::Recipient, "200"));
    assert_eq!(says(rule(r#"{"status":[400]}"#), 400, "").await, Ok(id.into()));
    assert!(serde_json::from_str::<SuccessRule>(r#"{"statsu":[200]}"#).is_err());
}

#[tokio::test]
async fn a_notice_cannot_leave_through_a_template_that_wants_a_code() {
    let provider = Provider::always(answer(200, "")).await;
    let settings = any(format!("{}/?code={{code}}", provider.url()));

    let outcome = send(SmsProvider::Http(settings), &Envelope { code: None, ..sms(TEXT) }).await;

    assert_eq!(told(outcome), refused(Stage::Sender, "no_code"));
    assert!(provider.asked().is_empty());
}

#[test]
fn settings_that_could_never_be_sent_are_refused_at_save() {
    let invalid = |settings| sms::sender(SmsProvider::Http(settings), &options()).err().map(|e| (e.setting, e.reason));
    let good = || any("https://api.example.com/send?to={to}".into());

    assert_eq!(invalid(good()), None);
    let told = headers(&[("Content-Type", "text/{to}")]);
    let text = HttpSettings { body: HttpBody::Text("to={to}".into()), headers: told, ..good() };
    assert_eq!(invalid(text), Some(("headers", "content_type_required")));
    for name in ["Host", "content-length", "Transfer-Encoding", "connection"] {
        assert_eq!(
            invalid(HttpSettings { headers: headers(&[(name, "1")]), ..good() }),
            Some(("headers", "name_refused"))
        );
    }
    assert_eq!(
        invalid(HttpSettings { headers: headers(&[("a b", "1")]), ..good() }),
        Some(("headers", "name_malformed"))
    );
    let split = HttpSettings { headers: headers(&[("a", "1\r\nb: 2")]), ..good() };
    assert_eq!(invalid(split), Some(("headers", "value_malformed")));
    assert_eq!(invalid(any("https://{to}.example.com/".into())), Some(("url", "host_malformed")));
    assert_eq!(invalid(any("https://api.example.com/a b".into())), Some(("url", "host_malformed")));
    let rule = |text: &str| HttpSettings { success: serde_json::from_str(text).unwrap(), ..good() };
    assert_eq!(invalid(rule(r#"{"pointer":"status"}"#)), Some(("success", "pointer_malformed")));
    assert_eq!(invalid(rule(r#"{"equals":"0"}"#)), Some(("success", "pointer_required")));
    assert_eq!(invalid(rule(r#"{"status":[7]}"#)), Some(("success", "status_malformed")));
}

#[test]
fn no_settings_print_what_they_hold() {
    let secret = "c4n4ry";
    let all = [
        format!("{:?}", TwilioSettings { auth_token: secret.into(), ..twilio(String::new()) }),
        format!(
            "{:?}",
            HttpSettings {
                headers: headers(&[("authorization", secret)]),
                body: HttpBody::Text(secret.into()),
                ..any(format!("https://api.example.com/?key={secret}"))
            }
        ),
        format!("{:?}", vonage(String::new())),
        format!("{:?}", orange(String::new())),
        format!("{:?}", africas_talking(String::new())),
        format!("{:?}", infobip(String::new())),
    ];
    for shown in all {
        assert!(!shown.contains(secret) && !shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn a_mail_address_is_no_place_for_an_sms() {
    use guichet::domain::contact::{Contact, EmailAddress};
    let provider = Provider::always(answer(200, "")).await;
    let to = Contact::Email(EmailAddress::parse("awa@example.com").unwrap());
    let providers = [SmsProvider::Twilio(twilio(provider.url())), orange(provider.url()), vonage(provider.url())];
    for each in providers {
        let outcome = send(each, &Envelope { to: to.clone(), ..sms(TEXT) }).await;
        assert_eq!(told(outcome), refused(Stage::Recipient, "not_a_number"));
    }
    assert!(provider.asked().is_empty());
}
