//! `sms.budget` and `sms.regions`: what text messages may cost and where they may go; and
//! `test_identities`, for which none is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Setter, SmsSettings, sections};
use crate::domain::budget::{BudgetMode, BudgetPolicy, Ceiling, Money, Rates, RatioPolicy, Regions};
use crate::domain::contact::{Contact, EmailAddress, PhoneNumber, Region};
use crate::domain::policy::Policy;
use crate::domain::test_identity::TestIdentities;

/// Most messages of a tenant in an hour that the platform allows to be set, and in a day.
const MOST_MESSAGES: (u64, u64) = (1_000_000, 10_000_000);

/// Most that one message may cost.
const MOST_COST: Money = Money::units(1_000_000);

/// The cost of every region that is not named.
const ANYWHERE: &str = "*";

/// Most test identities of a tenant.
const MOST_IDENTITIES: usize = 20;

sections! {
    /// What text messages may cost.
    BudgetSettings {
        /// ISO 4217.
        currency: String,
        /// Cost of a message by region, `*` for any other.
        costs: BTreeMap<String, Money>,
        /// Most of any hour.
        hour: CeilingSettings,
        /// Most of any day.
        day: CeilingSettings,
        /// Messages to unproven numbers that share their first seven digits.
        prefix: RatesSettings,
        /// Messages asked for from one client network.
        client: RatesSettings,
        /// When too few codes to a region come back.
        ratio: RatioSettings,
        /// Whether ceilings stop anything.
        mode: BudgetMode,
        /// The kill switch.
        stopped: bool,
    }
    /// Most of a window.
    CeilingSettings {
        /// Messages.
        messages: u64,
        /// What they cost.
        money: Money,
    }
    /// Messages of an hour and of a day.
    RatesSettings {
        /// In any hour.
        hour: u64,
        /// In any day.
        day: u64,
    }
    /// When too few codes to a region come back.
    RatioSettings {
        /// Sends of an hour from which on it is judged.
        hour: u64,
        /// Sends of a day from which on it is judged.
        day: u64,
        /// Percent that must come back; 0 judges nothing.
        percent: u64,
        /// Seconds that sending there stops.
        pause: u64,
    }
}

impl SmsSettings {
    pub(super) fn apply(&self, policy: &mut Policy, set: &mut Setter<'_>) {
        if let Some(regions) = &self.regions {
            policy.sms.regions = Regions::Only(regions.clone());
        }
        self.budget.clone().unwrap_or_default().apply(&mut policy.sms.budget, set);
    }
}

impl BudgetSettings {
    fn apply(&self, policy: &mut BudgetPolicy, set: &mut Setter<'_>) {
        if let Some(currency) = &self.currency {
            if currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
                policy.currency.clone_from(currency);
            } else {
                set.refuse("sms.budget.currency", "must be three capital letters (ISO 4217)");
            }
        }
        for (region, cost) in self.costs.iter().flatten() {
            self::cost(policy, set, region, *cost);
        }
        let (hour, day) = (self.hour.clone().unwrap_or_default(), self.day.clone().unwrap_or_default());
        hour.apply("hour", MOST_MESSAGES.0, &mut policy.hour, set);
        day.apply("day", MOST_MESSAGES.1, &mut policy.day, set);
        self.prefix.clone().unwrap_or_default().apply("prefix", &mut policy.prefix, set);
        self.client.clone().unwrap_or_default().apply("client", &mut policy.client, set);
        self.ratio.clone().unwrap_or_default().apply(&mut policy.ratio, set);
        policy.mode = self.mode.unwrap_or(policy.mode);
        policy.stopped = self.stopped.unwrap_or(policy.stopped);
    }
}

fn cost(policy: &mut BudgetPolicy, set: &mut Setter<'_>, region: &str, cost: Money) {
    let path = || format!("sms.budget.costs.{region}");
    if cost > MOST_COST {
        set.refuse(path(), format!("must be from 0 to {MOST_COST}"));
    } else if region == ANYWHERE {
        policy.default_cost = cost;
    } else if let Ok(known) = region.parse::<Region>() {
        policy.costs.insert(known.code().to_owned(), cost);
    } else {
        set.refuse(path(), "must be a region (ISO 3166-1 alpha-2) or `*`");
    }
}

impl CeilingSettings {
    fn apply(&self, window: &str, most: u64, ceiling: &mut Ceiling, set: &mut Setter<'_>) {
        set.count(format!("sms.budget.{window}.messages"), self.messages, 0..=most, &mut ceiling.messages);
        ceiling.money = self.money.unwrap_or(ceiling.money);
    }
}

impl RatesSettings {
    fn apply(&self, what: &str, rates: &mut Rates, set: &mut Setter<'_>) {
        set.count(format!("sms.budget.{what}.hour"), self.hour, 1..=MOST_MESSAGES.0, &mut rates.hour);
        set.count(format!("sms.budget.{what}.day"), self.day, 1..=MOST_MESSAGES.1, &mut rates.day);
    }
}

impl RatioSettings {
    fn apply(&self, ratio: &mut RatioPolicy, set: &mut Setter<'_>) {
        set.number("sms.budget.ratio.hour", self.hour, 10..=MOST_MESSAGES.0, &mut ratio.after.hour);
        set.number("sms.budget.ratio.day", self.day, 10..=MOST_MESSAGES.1, &mut ratio.after.day);
        set.number("sms.budget.ratio.percent", self.percent, 0..=90, &mut ratio.percent);
        set.seconds("sms.budget.ratio.pause", self.pause, 600..=86_400, &mut ratio.pause);
    }
}

/// A number or address whose code is fixed and to which nothing is sent: for load tests, continuous
/// integration and app-store review.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestIdentitySettings {
    /// The number; this or `email`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// The address; this or `phone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Its code, 4 to 10 digits.
    pub code: String,
}

/// Neither a contact nor a code belongs in a log.
impl fmt::Debug for TestIdentitySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestIdentitySettings(…)")
    }
}

impl TestIdentitySettings {
    /// Whom it stands for, in canonical form.
    fn contact(&self, region: Option<Region>) -> Option<Contact> {
        match (&self.phone, &self.email) {
            (Some(number), None) => PhoneNumber::parse(number, region).ok().map(Contact::Phone),
            (None, Some(address)) => EmailAddress::parse(address).ok().map(Contact::Email),
            _ => None,
        }
    }
}

/// Puts the listed identities into the policy.
pub(super) fn test_identities(listed: &[TestIdentitySettings], policy: &mut Policy, set: &mut Setter<'_>) {
    if listed.len() > MOST_IDENTITIES {
        set.refuse("test_identities", format!("at most {MOST_IDENTITIES}"));
    }
    let (mut known, mut identities) = (BTreeSet::new(), TestIdentities::default());
    for (at, identity) in listed.iter().enumerate() {
        let path = format!("test_identities[{at}]");
        let Some(contact) = identity.contact(policy.region) else {
            set.refuse(path, "needs one of a valid `phone` and a valid `email`");
            continue;
        };
        if !known.insert(contact.clone()) {
            set.refuse(path, "is listed twice");
        } else if !(4..=10).contains(&identity.code.len()) || !identity.code.bytes().all(|byte| byte.is_ascii_digit()) {
            set.refuse(format!("{path}.code"), "must be 4 to 10 digits");
        } else {
            identities.insert(contact, identity.code.clone());
        }
    }
    policy.test_identities = identities;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Profile;
    use crate::domain::settings::Settings;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    fn refused(json: &str) -> Vec<String> {
        let refused = Policy::with(Profile::AsvsL1, &settings(json)).err().unwrap_or_default();
        refused.into_iter().map(|bad| bad.path.into_owned()).collect()
    }

    #[test]
    fn a_new_tenant_sends_nowhere_until_it_says_where() {
        let senegal = PhoneNumber::parse("+221771234567", None).unwrap();
        let silent = Policy::with(Profile::AsvsL1, &Settings::default()).unwrap();
        let chosen = Policy::with(Profile::AsvsL1, &settings(r#"{"sms":{"regions":["SN"]}}"#)).unwrap();
        let classic = Policy::with(Profile::Classic, &Settings::default()).unwrap();
        let none = Policy::with(Profile::Classic, &settings(r#"{"sms":{"regions":[]}}"#)).unwrap();

        let allowed = [silent, chosen, classic, none].map(|policy| policy.sms.regions.allow(&senegal));

        assert_eq!(allowed, [false, true, true, false]);
    }

    #[test]
    fn every_number_of_the_budget_is_a_setting() {
        let json = r#"{"sms":{"budget":{"currency":"XOF","costs":{"SN":0.02,"*":25},
            "hour":{"messages":7,"money":"1.5"},"day":{"messages":8,"money":2},"prefix":{"hour":3,"day":4},
            "client":{"hour":5,"day":6},"ratio":{"hour":11,"day":12,"percent":13,"pause":600},
            "mode":"record","stopped":true}}}"#;

        let policy = Policy::with(Profile::AsvsL1, &settings(json)).unwrap().sms.budget;

        let expected = BudgetPolicy {
            currency: "XOF".to_owned(),
            costs: BTreeMap::from([("SN".to_owned(), Money::micros(20_000))]),
            default_cost: Money::units(25),
            hour: Ceiling { messages: 7, money: Money::micros(1_500_000) },
            day: Ceiling { messages: 8, money: Money::units(2) },
            prefix: Rates { hour: 3, day: 4 },
            client: Rates { hour: 5, day: 6 },
            ratio: RatioPolicy {
                after: Rates { hour: 11, day: 12 },
                percent: 13,
                pause: std::time::Duration::from_mins(10),
            },
            mode: BudgetMode::Record,
            stopped: true,
        };
        assert_eq!(policy, expected);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let json = r#"{"sms":{"budget":{"currency":"euro","costs":{"XX":1,"SN":1000001},"hour":{"messages":1000001},
            "prefix":{"hour":0},"client":{"day":0},"ratio":{"hour":9,"percent":91,"pause":599}}}}"#;

        let paths = ["currency", "costs.SN", "costs.XX", "hour.messages", "prefix.hour", "client.day"];
        let ratio = ["ratio.hour", "ratio.percent", "ratio.pause"];
        let expected: Vec<_> = paths.iter().chain(&ratio).map(|path| format!("sms.budget.{path}")).collect();
        assert_eq!(refused(json), expected);
        assert!(serde_json::from_str::<Settings>(r#"{"sms":{"budget":{"hour":{"money":-1}}}}"#).is_err());
        assert!(serde_json::from_str::<Settings>(r#"{"sms":{"budget":{"hour":{"money":0.0000001}}}}"#).is_err());
    }

    #[test]
    fn a_test_identity_is_one_contact_with_a_code_of_digits() {
        let bad = r#"{"test_identities":[
            {"phone":"+221771234567","code":"1234"},
            {"phone":"00221 77 123 45 67","code":"1234"},
            {"phone":"771234567","code":"1234"},
            {"phone":"+221771234568","email":"a@b.test","code":"1234"},
            {"email":"a@b.test","code":"123"},
            {"email":"c@d.test","code":"12a4"}]}"#;
        let many: Vec<_> = (0..21).map(|n| format!(r#"{{"email":"a{n}@b.test","code":"1234"}}"#)).collect();

        assert_eq!(
            refused(bad),
            ["[1]", "[2]", "[3]", "[4].code", "[5].code"].map(|at| format!("test_identities{at}"))
        );
        assert_eq!(refused(&format!(r#"{{"test_identities":[{}]}}"#, many.join(","))), ["test_identities"]);
    }

    #[test]
    fn the_document_is_written_as_it_was_read() {
        let json = r#"{"sms":{"regions":["SN"],"budget":{"costs":{"*":0.05,"SN":2},"hour":{"money":12.5}}},"test_identities":[{"phone":"+221771234567","code":"0042"}]}"#;

        assert_eq!(serde_json::to_string(&settings(json)).unwrap(), json);
        assert!(!format!("{:?}", settings(json)).contains("0042"));
    }
}
