//! SMS budgets: one key per spread, all of a tenant's under one hash tag, so that one script takes
//! a message from all of them; and the count of messages to one recipient, which is no tenant's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{RedisStore, Repeat, millis, resend_numbers, script, set};
use crate::domain::budget::{BudgetMode, BudgetPolicy, BudgetUsage, Ceiling, Rates, Spend, SpendVerdict};
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::ephemeral::{EphemeralError, MailVerdict, RecipientCount, hex};

pub(super) async fn count_recipient(
    store: &RedisStore,
    message: &RecipientCount,
) -> Result<MailVerdict, EphemeralError> {
    let mut ask = resend_numbers(&message.ceiling());
    set(&mut ask, "operation", json!(message.operation));
    store.call(&script::COUNT_MAIL, &recipient_key(store, message), ask, Repeat::Once).await
}

pub(super) async fn give_back_recipient(store: &RedisStore, message: &RecipientCount) -> Result<(), EphemeralError> {
    let ask = json!({ "operation": message.operation });
    let _: bool = store.call(&script::GIVE_BACK_MAIL, &recipient_key(store, message), ask, Repeat::Once).await?;
    Ok(())
}

pub(super) async fn take(
    store: &RedisStore,
    tenant: TenantId,
    policy: &BudgetPolicy,
    spend: &Spend,
) -> Result<SpendVerdict, EphemeralError> {
    let mut ask = what_is_spent(spend);
    set(&mut ask, "policy", numbers(policy));
    store.call_all(&script::TAKE_BUDGET, &keys(store, tenant, spend), ask, Repeat::Once).await
}

pub(super) async fn give_back(store: &RedisStore, tenant: TenantId, spend: &Spend) -> Result<(), EphemeralError> {
    let (keys, ask) = (keys(store, tenant, spend), what_is_spent(spend));
    let _: bool = store.call_all(&script::GIVE_BACK_BUDGET, &keys, ask, Repeat::Once).await?;
    Ok(())
}

pub(super) async fn verified(store: &RedisStore, tenant: TenantId, region: &str) -> Result<(), EphemeralError> {
    let key = spread_key(store, tenant, "region", region);
    let _: bool = store.call(&script::COUNT_VERIFIED, &key, json!({}), Repeat::Never).await?;
    Ok(())
}

pub(super) async fn usage(store: &RedisStore, tenant: TenantId) -> Result<BudgetUsage, EphemeralError> {
    let key = tenant_key(store, tenant);
    let told: Told = store.call(&script::BUDGET_USAGE, &key, json!({}), Repeat::Once).await?;
    let micros = |text: &str| text.parse().map_err(|error| EphemeralError::Corrupt(Box::new(error)));
    Ok(BudgetUsage {
        hour_messages: told.hour.0,
        hour_micros: micros(&told.hour.1)?,
        day_messages: told.day.0,
        day_micros: micros(&told.day.1)?,
        stops: told.stops,
        reached: told.reached,
    })
}

/// What the script answers: large numbers as text.
#[derive(Deserialize)]
struct Told {
    hour: (u64, String),
    day: (u64, String),
    stops: BTreeMap<String, Timestamp>,
    reached: BTreeMap<String, Timestamp>,
}

fn recipient_key(store: &RedisStore, message: &RecipientCount) -> String {
    format!("{}:{{recipient:{}}}:sends", store.settings.key_prefix, hex(&message.recipient))
}

fn tenant_key(store: &RedisStore, tenant: TenantId) -> String {
    store.key(tenant, "sms", "budget")
}

fn spread_key(store: &RedisStore, tenant: TenantId, kind: &str, of: &str) -> String {
    store.key(tenant, "sms", &format!("{kind}:{of}"))
}

/// In the order in which the scripts name them.
fn keys(store: &RedisStore, tenant: TenantId, spend: &Spend) -> Vec<String> {
    let spread = |kind, of: &str| spread_key(store, tenant, kind, of);
    let mut keys = vec![spread("spend", &spend.operation.to_string()), tenant_key(store, tenant)];
    keys.extend(spend.client.as_deref().map(|client| spread("client", client)));
    if let Some(prefix) = &spend.unproven_prefix {
        keys.extend([spread("prefix", prefix), spread("region", &spend.region)]);
    }
    keys
}

fn what_is_spent(spend: &Spend) -> serde_json::Value {
    json!({
        "region": spend.region,
        "cost": spend.cost.as_micros(),
        "has_client": spend.client.is_some(),
        "is_unproven": spend.unproven_prefix.is_some(),
        "withheld": spend.withheld,
    })
}

fn numbers(policy: &BudgetPolicy) -> serde_json::Value {
    let ceiling = |most: Ceiling| json!({ "messages": most.messages, "money": most.money.as_micros() });
    let rates = |rates: Rates| json!({ "hour": rates.hour, "day": rates.day });
    json!({
        "hour": ceiling(policy.hour),
        "day": ceiling(policy.day),
        "client": rates(policy.client),
        "prefix": rates(policy.prefix),
        "ratio": {
            "hour": policy.ratio.after.hour,
            "day": policy.ratio.after.day,
            "percent": policy.ratio.percent,
            "pause": millis(policy.ratio.pause),
        },
        "enforced": policy.mode == BudgetMode::Enforce,
    })
}
