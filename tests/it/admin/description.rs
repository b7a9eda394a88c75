//! The API's own description, and who may read it.

use std::collections::BTreeSet;

use guichet::http::handlers::admin;
use serde_json::Value;

use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(the_documents_are_for_everybody_and_the_page_for_those_who_may_look_inside);

#[test]
fn every_route_of_the_admin_api_is_described() {
    let api = admin::api();
    for route in api.iter() {
        assert!(route.doc.is_some() && route.role.is_some(), "{:?} {}", route.method, route.pattern);
        assert!(route.pattern.starts_with("/admin/v1/"), "{}", route.pattern);
    }
}

fn document() -> Value {
    guichet::http::openapi::document("test", &admin::api())
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &'_ Value)| -> Vec<(String, String)> {
        item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())).collect()
    };
    let all: Vec<_> = paths.iter().flat_map(of).collect();
    all.into_iter().map(|(path, method)| (format!("{method} {path}"), &document["paths"][&path][&method])).collect()
}

/// Every `$ref` in a value.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

#[test]
fn the_description_is_sound() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{name}");
        assert!(!operation["summary"].as_str().unwrap().is_empty() && !operation["tags"][0].is_null(), "{name}");
        assert_eq!(operation["security"][0]["key"], serde_json::json!([]), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
        for status in ["401", "403", "429", "503"] {
            assert!(responses.contains_key(status), "{name} {status}");
        }
        let path = name.split_once(' ').unwrap().1;
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, path.matches('{').count(), "{name}");
        assert_eq!(operation.get("requestBody").is_some(), responses.contains_key("415"), "{name}");
    }
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    assert!(used.len() > 10);
    for reference in used {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

/// People choose their passwords: no admin ever sends one. (A mail server's is the tenant's own.)
#[test]
fn no_admin_sets_a_persons_password() {
    let document = document();
    let mut bodies = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let mut own = BTreeSet::new();
        references(&operation["requestBody"], &mut own);
        assert!(!operation["requestBody"].to_string().contains("password"), "{name}");
        bodies.extend(own);
    }
    assert!(bodies.remove("#/components/schemas/Settings"));
    for reference in bodies {
        let schema = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        assert!(!schema.to_string().contains("password"), "{reference}");
    }
}

async fn the_documents_are_for_everybody_and_the_page_for_those_who_may_look_inside(gateway: Gateway) {
    let read = async |gateway: &Gateway, path: &str, key: Option<&str>| {
        let request = reqwest::Client::new().get(gateway.admin_url(path));
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        request.send().await.unwrap()
    };
    let described = read(&gateway, "/openapi.json", None).await;
    assert_eq!(described.headers()["content-type"], "application/json");
    assert_eq!(described.json::<Value>().await.unwrap()["openapi"], "3.1.0");
    let page = read(&gateway, "/docs", None).await;
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let page = page.text().await.unwrap();
    for route in admin::api().iter() {
        assert!(page.contains(&route.pattern.replace('/', "&#x2f;")), "{}", route.pattern);
    }
    assert!(!page.contains("<script") && !page.contains("style"));

    let key = super::key_of(&gateway, "strict", "tenant-admin").await;
    let gateway = gateway.restart(|config| config.admin.allow = Vec::new()).await;
    for path in ["/openapi.json", "/openapi/public.json"] {
        assert_eq!(read(&gateway, path, None).await.status(), 200, "{path}");
    }
    for path in ["/docs", "/metrics"] {
        assert_eq!(read(&gateway, path, None).await.status(), 404, "{path}");
        assert_eq!(read(&gateway, path, Some(&key)).await.status(), 404, "{path}");
        assert_eq!(read(&gateway, path, Some(ROOT_KEY)).await.status(), 200, "{path}");
    }
}
