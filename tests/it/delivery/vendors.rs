//! Our requests beside those of the vendors' own SDKs, and Twilio's held against its description.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use guichet::delivery::Envelope;
use guichet::delivery::sms::{
    self, AfricasTalkingSettings, InfobipSettings, SmsOptions, SmsProvider, TwilioSettings, VonageSettings,
};
use serde_json::{Value, json};

use super::certificate::Certificate;
use super::provider::{Asked, Provider, answer, options, sms};

/// What `tests/fixtures/sms/sdks.py` sends.
const TEXT: &str = "482913 est votre code. Ça & là = 100 % + \"sûr\"";

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn python() -> Command {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sms-sdks/bin/python");
    assert!(python.exists(), "these tests need the vendors' SDKs: bash tests/run.sh --prepare");
    let mut command = Command::new(python);
    command.arg(fixture("sms/sdks.py"));
    command
}

/// Each SDK's request, by provider.
static SDKS: LazyLock<Value> = LazyLock::new(|| {
    let certificate = Certificate::new();
    let output = python()
        .arg("requests")
        .args([certificate.path("cert.pem"), certificate.path("key.pem")])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).expect("the SDKs send their messages")
});

/// What counts of a request: method, path, the headers that matter, and the body taken apart.
fn essence(method: &str, path: &str, header: impl Fn(&str) -> String, body: &str, credential: &str) -> Value {
    let kind = header("content-type");
    let body = if kind == "application/json" {
        serde_json::from_str(body).unwrap()
    } else {
        let mut pairs: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        pairs.sort();
        json!(pairs)
    };
    json!({"method": method, "path": path, "type": kind, "accept": header("accept"), "credential": header(credential), "body": body})
}

fn theirs(provider: &str, credential: &str) -> Value {
    let request = &SDKS[provider];
    let text = |name: &str| request[name].as_str().unwrap();
    let header = |name: &str| request["headers"][name].as_str().unwrap_or_default().to_owned();
    essence(text("method"), text("path"), header, text("body"), credential)
}

fn ours(asked: &Asked, credential: &str) -> Value {
    essence(&asked.method, &asked.target, |name| asked.header(name).to_owned(), &asked.body, credential)
}

async fn asked(make: impl Fn(String) -> SmsProvider, reply: &str) -> Asked {
    let provider = Provider::always(answer(200, reply)).await;
    sms::sender(make(provider.url()), &options()).unwrap().send(&sms(TEXT)).await.unwrap();
    provider.only()
}

#[tokio::test]
async fn vonage_is_asked_what_its_sdk_asks() {
    let make = |url| {
        SmsProvider::Vonage(VonageSettings {
            api_key: "key".into(),
            api_secret: "s3cret".into(),
            from: "ACME".into(),
            base_url: Some(url),
        })
    };
    let asked = asked(make, r#"{"messages":[{"status":"0","message-id":"1"}]}"#).await;

    assert_eq!(ours(&asked, "authorization"), theirs("vonage", "authorization"));
}

#[tokio::test]
async fn africas_talking_is_asked_what_its_sdk_asks() {
    let make = |url| {
        SmsProvider::AfricasTalking(AfricasTalkingSettings {
            username: "acme".into(),
            api_key: "s3cret".into(),
            from: Some("ACME".into()),
            base_url: Some(url),
        })
    };
    let asked = asked(make, r#"{"SMSMessageData":{"Recipients":[{"statusCode":101,"messageId":"1"}]}}"#).await;

    assert_eq!(ours(&asked, "apikey"), theirs("africastalking", "apikey"));
}

#[tokio::test]
async fn infobip_is_asked_what_its_sdk_asks() {
    let make = |url| {
        SmsProvider::Infobip(InfobipSettings { api_key: "s3cret".into(), from: "ACME".into(), base_url: Some(url) })
    };
    let asked = asked(make, r#"{"messages":[{"messageId":"1","status":{"groupId":1}}]}"#).await;

    assert_eq!(ours(&asked, "authorization"), theirs("infobip", "authorization"));
}

/// What Twilio's description has against a request.
fn objections(path: &str, kind: &str, authorization: &str, body: &str) -> Vec<String> {
    let mut child = python()
        .arg("twilio")
        .arg(fixture("twilio/create_message.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut headers = json!({"content-type": kind});
    if !authorization.is_empty() {
        headers["authorization"] = json!(authorization);
    }
    let request = json!({"path": path, "headers": headers, "body": body});
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).expect("the validator answers")
}

#[tokio::test]
async fn twilios_description_has_nothing_against_our_requests() {
    let created = r#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued"}"#;
    let provider = Provider::always(answer(201, created)).await;
    let known: Value = serde_json::from_slice(&std::fs::read(fixture("twilio/create_message.json")).unwrap()).unwrap();
    let known = &known["paths"]["/2010-04-01/Accounts/{AccountSid}/Messages.json"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
        ["schema"]["properties"];
    let by_number = TwilioSettings {
        account_sid: "AC0123456789abcdef0123456789abcdef".into(),
        auth_token: "s3cret".into(),
        from: Some("+15005550006".into()),
        messaging_service_sid: None,
        base_url: Some(provider.url()),
    };
    let service = Some("MG0123456789abcdef0123456789abcdef".to_owned());
    let by_service = TwilioSettings { from: None, messaging_service_sid: service, ..by_number.clone() };
    let callback = Some("https://auth.example.com/hooks/acme/twilio".to_owned());
    let options = SmsOptions { callback, ..options() };
    let not_after = options.clock.now() + Duration::from_secs(300);

    for settings in [by_number, by_service] {
        let sender = sms::sender(SmsProvider::Twilio(settings), &options).unwrap();
        let receipt = sender.send(&Envelope { not_after: Some(not_after), ..sms(TEXT) }).await.unwrap();
        assert_eq!(receipt.reference.as_deref(), Some("SM0123456789abcdef0123456789abcdef"));

        let asked = provider.asked().pop().unwrap();
        let (kind, authorization) = (asked.header("content-type"), asked.header("authorization"));
        assert_eq!(objections(&asked.target, kind, authorization, &asked.body), Vec::<String>::new());
        let form = asked.form();
        assert_eq!(form.len(), 5, "{form:?}");
        for (name, _) in &form {
            assert!(known.get(name).is_some(), "Twilio knows no {name}");
        }
        assert!(form.contains(&("Body".to_owned(), TEXT.to_owned())));
        // base64 of `AC…:s3cret`
        assert_eq!(authorization, "Basic QUMwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjpzM2NyZXQ=");
    }
    let path = "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages.json";
    let form = "application/x-www-form-urlencoded";
    assert_ne!(objections(path, form, "Basic eA==", "To=1&ValidityPeriod=x"), Vec::<String>::new(), "it does judge");
    assert_ne!(objections(path, form, "", "To=1"), Vec::<String>::new(), "it does judge");
}
