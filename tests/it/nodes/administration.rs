//! What an admin does on one node holds on the other.

use reqwest::Method;
use serde_json::json;

use super::{PASSWORD, Person, log_in};
use crate::harness::node::{Cluster, answer};

const ROOT_KEY: &str = "gk_root_of-a-cluster-long-enough";

#[tokio::test(flavor = "multi_thread")]
async fn disable_ends_every_session_on_the_other_node() {
    let with_key = |_, settings: crate::harness::node::Settings| settings.with("GUICHET_ADMIN_KEY", ROOT_KEY);
    Cluster::run(with_key, |cluster| async move {
        let [one, other] = &cluster.nodes;
        let owner = Person::register(one, "awa@example.com").await;
        let signed_in = owner.log_in(other, PASSWORD).await.must_be(200);
        let (token, refresh) = (signed_in.text("token"), signed_in.text("refresh_token"));
        let id = signed_in.json["user"]["id"].as_str().unwrap();
        other.get("/api/auth/me", &token).await.must_be(200);

        let disable = one.admin(Method::POST, &format!("/admin/v1/tenants/default/users/{id}/disable"));
        answer(disable.bearer_auth(ROOT_KEY)).await.must_be(204);

        other.get("/api/auth/me", &token).await.must_be(401);
        other.post("/api/auth/refresh", &json!({ "refresh_token": refresh })).await.must_be(401);
        let refused = log_in(other, "awa@example.com", PASSWORD).await.must_be(403);
        assert_eq!(refused.code(), "account_disabled");
    })
    .await;
}
