//! Every admin route × every kind of key, generated from the router's own table.

use guichet::domain::role::Role;
use guichet::http::handlers::admin;
use http::Method;
use serde_json::json;

use super::key_of;
use crate::harness::gateway::{Gateway, ROOT_KEY, on_every_back_end};

on_every_back_end!(every_route_takes_its_role_and_shows_a_tenant_to_its_own_keys_alone);

/// Who asks for a route of the tenant `strict`.
struct Asking {
    who: &'static str,
    key: Option<String>,
    role: Option<Role>,
    is_own: bool,
}

/// What the table says must be answered; none if the handler decides.
fn refusal(asking: &Asking, role: Role, pattern: &str) -> Option<(u16, &'static str)> {
    let Some(held) = asking.role else {
        let code = if asking.key.is_some() { "invalid_token" } else { "missing_token" };
        return Some((401, code));
    };
    if pattern.contains("{slug}") && !asking.is_own {
        return Some((404, "tenant_not_found"));
    }
    (held < role).then_some((403, "forbidden"))
}

async fn every_route_takes_its_role_and_shows_a_tenant_to_its_own_keys_alone(gateway: Gateway) {
    let key = async |slug, role| Some(key_of(&gateway, slug, role).await);
    let (support, admin) = (Some(Role::TenantSupport), Some(Role::TenantAdmin));
    let everybody = [
        Asking { who: "nobody", key: None, role: None, is_own: false },
        Asking { who: "a stranger", key: Some("gk_nonsense".to_owned()), role: None, is_own: false },
        Asking { who: "another's support", key: key("other", "tenant-support").await, role: support, is_own: false },
        Asking { who: "another's admin", key: key("other", "tenant-admin").await, role: admin, is_own: false },
        Asking { who: "support", key: key("strict", "tenant-support").await, role: support, is_own: true },
        Asking { who: "admin", key: key("strict", "tenant-admin").await, role: admin, is_own: true },
        Asking { who: "root", key: Some(ROOT_KEY.to_owned()), role: Some(Role::PlatformAdmin), is_own: true },
    ];
    let routes = admin::routes();
    // What ends the tenant comes last.
    let mut rows: Vec<_> = routes.iter().filter_map(|route| Some((route, route.role?))).collect();
    rows.sort_by_key(|(route, _)| route.method == Some(Method::DELETE) && route.pattern.ends_with("{slug}"));
    assert!(rows.len() >= 18, "the table has only {} guarded rows", rows.len());

    let mut asked = 0_u8;
    for asking in &everybody {
        for (route, role) in &rows {
            let method = route.method.clone().unwrap();
            let path = route.pattern.strip_prefix("/admin/v1").unwrap();
            let path = path.replace("{slug}", "strict").replace("{id}", "0192f3a4-7c1e-7d6a-9c1f-2b7b5f6f1a10");
            assert!(!path.contains('{'), "{path}: say here what stands for its parameter");
            let call = gateway.admin().call(method.clone(), &path).body("application/json", json!({}).to_string());
            let call = if let Some(key) = &asking.key { call.bearer(key) } else { call };
            // From as many addresses as it takes to show bad keys.
            asked = asked.wrapping_add(1);
            let answer = call.at([127, 0, 8, asked]).await;

            let cell = format!("{} {method} {path}: {}", asking.who, answer.text);
            let status = answer.status.as_u16();
            if let Some(refusal) = refusal(asking, *role, route.pattern) {
                assert_eq!((status, answer["code"].as_str().unwrap()), refusal, "{cell}");
            } else {
                assert!(!matches!(status, 401 | 403 | 405 | 415 | 500), "{cell}");
                assert_ne!(answer["code"], "tenant_not_found", "{cell}");
            }
        }
    }
}
