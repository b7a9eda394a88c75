//! Every recipe of `deploy/gateways/`, in front of two apps, in the real gateway's own program.
//!
//! ```text
//!   test ─► real gateway (recipe as shipped, addresses replaced) ─┬─► guichet (the program)
//!                                                                 └─► shop, desk (apps that tell what arrived)
//! ```
//!
//! One list of cases, one test for each gateway and case: what an integrator relies on, and what an
//! attacker tries. A gateway whose program is missing fails its tests where `CI=true`. `rotation` changes
//! keys under load.

mod app;
mod cases;
mod recipes;
mod rotation;
mod world;

use world::World;

/// Makes every case a test through every gateway.
macro_rules! through_every_gateway {
    ($($case:ident),* $(,)?) => {
        through_every_gateway!(@each nginx Nginx; $($case),*);
        through_every_gateway!(@each caddy Caddy; $($case),*);
        through_every_gateway!(@each traefik Traefik; $($case),*);
        through_every_gateway!(@each haproxy Haproxy; $($case),*);
        through_every_gateway!(@each envoy_http EnvoyHttp; $($case),*);
        through_every_gateway!(@each envoy_grpc EnvoyGrpc; $($case),*);
        through_every_gateway!(@each envoy_jwt EnvoyJwt; $($case),*);
    };
    (@each $module:ident $gateway:ident; $($case:ident),*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let Some(world) = super::World::start(super::recipes::Gateway::$gateway).await else { return };
                    super::cases::$case(&world).await;
                }
            )*
        }
    };
}

through_every_gateway!(
    a_request_without_a_token_reaches_no_app,
    a_bad_token_reaches_no_app,
    a_good_token_reaches_its_app_with_its_identity,
    a_token_for_the_other_app_is_refused,
    identity_headers_of_a_client_never_arrive,
    a_token_of_another_tenant_is_refused_whatever_the_client_says,
    a_revoked_session_is_refused,
    an_app_over_its_limit_is_refused_and_no_other,
    without_guichet_nothing_passes,
    a_websocket_passes_with_a_token_and_only_with_one,
    a_cors_preflight_reaches_the_app,
    a_body_arrives_whole_small_or_large,
);
