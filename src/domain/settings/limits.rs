//! `"limits"`: who may ask how often, by the names of [`LimitName`].

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Setter;
use crate::domain::limits::bucket::Rate;
use crate::domain::limits::{LimitKey, LimitMode, LimitName, LimitPolicies, LimitPolicy};

/// Limits that differ from the defaults, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LimitsSettings(pub BTreeMap<LimitName, LimitSettings>);

/// One limit's own values, each optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests in a window, and at once after a quiet one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<u32>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// What happens beyond the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<LimitMode>,
}

impl LimitsSettings {
    pub(super) fn apply(&self, policies: &mut LimitPolicies, set: &mut Setter<'_>) {
        for (name, settings) in &self.0 {
            settings.apply(*name, policies, set);
        }
    }
}

impl LimitSettings {
    fn apply(self, name: LimitName, policies: &mut LimitPolicies, set: &mut Setter<'_>) {
        if name == LimitName::CodeContact {
            set.refuse(format!("limits.{name}"), "is the rule of otp.resend: set that");
            return;
        }
        let default = name.default_policy();
        let (most, longest) = if name == LimitName::TenantTotal { (1_000_000, 3_600) } else { (100_000, 86_400) };
        let quota = self.quota.unwrap_or(default.rate.requests);
        let window = self.window.unwrap_or(default.rate.window.as_secs());
        if !(1..=most).contains(&quota) {
            set.refuse(format!("limits.{name}.quota"), format!("must be from 1 to {most}"));
            return;
        }
        if !(1..=longest).contains(&window) {
            set.refuse(format!("limits.{name}.window"), format!("must be from 1 to {longest}"));
            return;
        }
        let rate = Rate { requests: quota, window: Duration::from_secs(window) };
        let mode = self.mode.unwrap_or(default.mode);
        // These protect people; `tenant-total` protects the platform, which has its own ceiling.
        if set.strict && name.key() == LimitKey::Client {
            if !rate.is_within(default.rate) {
                let (requests, seconds) = (default.rate.requests, default.rate.window.as_secs());
                let most = format!("profile asvs-l1 allows at most {requests} in {seconds} s");
                set.refuse(format!("limits.{name}.quota"), most);
            }
            if mode != LimitMode::Enforce {
                set.refuse(format!("limits.{name}.mode"), "profile asvs-l1 demands enforce");
            }
        }
        policies.set(name, LimitPolicy { rate, mode });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{Policy, Profile};
    use crate::domain::settings::Settings;

    fn applied(profile: Profile, limits: &str) -> Result<LimitPolicies, Vec<String>> {
        let settings: Settings = serde_json::from_str(&format!(r#"{{"limits":{limits}}}"#)).unwrap();
        let policy = Policy::with(profile, &settings).map(|policy| policy.limits);
        policy.map_err(|bad| bad.into_iter().map(|setting| setting.path.into_owned()).collect())
    }

    #[test]
    fn a_setting_is_taken_within_its_range_and_named_beyond_it() {
        let set = applied(Profile::Classic, r#"{"login-client":{"quota":30,"mode":"record"}}"#).unwrap();
        let policy = set.get(LimitName::LoginClient);
        assert_eq!((policy.rate.requests, policy.rate.window.as_secs(), policy.mode), (30, 60, LimitMode::Record));
        assert!(set.is_set(LimitName::LoginClient) && !set.is_set(LimitName::CodeClient));

        for (json, path) in [
            (r#"{"login-client":{"quota":0}}"#, "limits.login-client.quota"),
            (r#"{"login-client":{"quota":100001}}"#, "limits.login-client.quota"),
            (r#"{"api-client":{"window":0}}"#, "limits.api-client.window"),
            (r#"{"api-client":{"window":86401}}"#, "limits.api-client.window"),
            (r#"{"tenant-total":{"window":3601}}"#, "limits.tenant-total.window"),
            (r#"{"code-contact":{"quota":3}}"#, "limits.code-contact"),
        ] {
            assert_eq!(applied(Profile::Classic, json).unwrap_err(), [path], "{json}");
        }
    }

    #[test]
    fn unknown_limits_and_members_are_refused() {
        for json in [r#"{"login":{}}"#, r#"{"login-client":{"quotas":1}}"#, r#"{"login-client":{"mode":"maybe"}}"#] {
            assert!(serde_json::from_str::<LimitsSettings>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn the_strict_profile_may_only_be_stricter() {
        for (json, path) in [
            (r#"{"login-client":{"quota":61}}"#, "limits.login-client.quota"),
            (r#"{"login-client":{"window":30}}"#, "limits.login-client.quota"),
            (r#"{"code-client":{"quota":61,"window":86400}}"#, "limits.code-client.quota"),
            (r#"{"api-client":{"mode":"off"}}"#, "limits.api-client.mode"),
            (r#"{"api-client":{"mode":"record"}}"#, "limits.api-client.mode"),
        ] {
            assert_eq!(applied(Profile::AsvsL1, json).unwrap_err(), [path], "{json}");
            assert!(applied(Profile::Classic, json).is_ok(), "{json}");
        }
        for json in [r#"{"login-client":{"quota":10}}"#, r#"{"tenant-total":{"quota":5000,"mode":"record"}}"#] {
            assert!(applied(Profile::AsvsL1, json).is_ok(), "{json}");
        }
    }
}
