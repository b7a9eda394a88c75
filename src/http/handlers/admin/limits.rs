//! A tenant's limits as they hold, whom they refuse now, and what its text messages have cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::budget::{BudgetMode, BudgetPolicy, BudgetUsage, Ceiling, Money};
use crate::domain::limits::{LimitKey, LimitMode, LimitName};
use crate::domain::role::Role;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::openapi::Doc;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::limits::{EffectiveLimit, RefusedNow};

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    Routes::new().of_tenant(Role::TenantSupport, Method::GET, "/admin/v1/tenants/{slug}/limits", show).describe(
        Doc::new("messages", "Limits in force, whom they refuse now, and the SMS budget")
            .about("`refused` is what this node sees; the rest is the same on all of them.")
            .answer::<LimitsView>(200, "All of it."),
    )
}

/// What a tenant may do, and how much of it is left.
#[derive(Serialize, JsonSchema)]
struct LimitsView {
    limits: Vec<LimitView>,
    refused: Vec<RefusedView>,
    sms_budget: BudgetView,
}

/// One limit.
#[derive(Serialize, JsonSchema)]
struct LimitView {
    name: LimitName,
    /// What it counts by.
    key: LimitKey,
    requests: u32,
    /// The seconds they are for.
    window: u64,
    mode: LimitMode,
    /// Whose number it is: `profile`, `tenant`, or `platform` if the tenant asked for more than that allows.
    source: &'static str,
}

impl From<EffectiveLimit> for LimitView {
    fn from(limit: EffectiveLimit) -> Self {
        let EffectiveLimit { name, key, rate, mode, source } = limit;
        Self { name, key, requests: rate.requests, window: rate.window.as_secs(), mode, source: source.as_str() }
    }
}

/// Whom one limit refuses.
#[derive(Serialize, JsonSchema)]
struct RefusedView {
    name: LimitName,
    /// Refused since each of them was last quiet.
    requests: u64,
    /// How many they are.
    subjects: usize,
    /// The busiest: networks (/24, /64, /48), or ids of apps.
    shown: Vec<String>,
}

impl From<RefusedNow> for RefusedView {
    fn from(refused: RefusedNow) -> Self {
        let RefusedNow { name, requests, subjects, shown } = refused;
        Self { name, requests, subjects, shown }
    }
}

/// What text messages cost.
#[derive(Serialize, JsonSchema)]
struct BudgetView {
    currency: String,
    mode: BudgetMode,
    /// Nothing leaves: the tenant's kill switch.
    stopped: bool,
    hour: SpentView,
    day: SpentView,
    /// Regions stopped since too few codes come back, and until when.
    stopped_regions: BTreeMap<String, String>,
}

/// Used and allowed.
#[derive(Serialize, JsonSchema)]
struct SpentView {
    messages: u64,
    most_messages: u64,
    money: Money,
    most_money: Money,
}

impl SpentView {
    fn of(messages: u64, micros: u64, most: Ceiling) -> Self {
        Self { messages, most_messages: most.messages, money: Money::micros(micros), most_money: most.money }
    }
}

impl BudgetView {
    fn of(policy: &BudgetPolicy, usage: BudgetUsage) -> Self {
        Self {
            currency: policy.currency.clone(),
            mode: policy.mode,
            stopped: policy.stopped,
            hour: SpentView::of(usage.hour_messages, usage.hour_micros, policy.hour),
            day: SpentView::of(usage.day_messages, usage.day_micros, policy.day),
            stopped_regions: usage.stops.into_iter().map(|(region, until)| (region, until.to_rfc3339())).collect(),
        }
    }
}

async fn show(desk: Arc<Desk>, visit: Visit, _request: Request) -> Answer {
    let tenant = desk.administration.context(visit.tenant.id).await?;
    let usage = desk.people.accounts.budget().usage(&tenant).await?;
    let view = LimitsView {
        limits: desk.limits.effective(&tenant).into_iter().map(LimitView::from).collect(),
        refused: desk.limits.refused_now(tenant.id()).into_iter().map(RefusedView::from).collect(),
        sms_budget: BudgetView::of(&tenant.policy().sms.budget, usage),
    };
    Ok(Reply::json(StatusCode::OK, &view).no_store())
}
