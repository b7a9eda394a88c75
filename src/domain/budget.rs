//! SMS money: what a tenant's text messages may cost, and when sending stops by itself.
//!
//! Pumping is the attack: bots ask for codes to numbers whose carrier shares the fee, and never
//! answer one. No single check sees it, so each send passes all of these or takes from none:
//!
//! ```text
//!   region on the list? ─► tenant, hour and day, messages and money ─► client prefix ─┐
//!    (number metadata)                                                                │
//!                ┌────────────────────────────────────────────────────────────────────┘
//!                └─► number prefix (seven digits) ─► region's verified share ─► taken from all
//!                    └─ only numbers that no account has: pumping never stops a customer ─┘
//! ```
//!
//! **What the caller sees.** A refusal here looks like a success: same status, same body, the send
//! booked in the code book as any other, and nothing leaves. Whoever pumps learns neither which
//! regions a tenant serves, nor which prefix is closed, nor that its budget is empty. Nor may the
//! answer depend on whether the number is proven, or it would tell who has an account. Only a
//! device that the account knows has shown who it is: it is told at once that no code can be sent
//! (503), and its send is given back. Everybody else waits for a message that does not come; the
//! tenant hears of it by an event and a metric, and can raise the ceiling within a second.
//!
//! **Counting.** Windows slide in buckets (five minutes of an hour, an hour of a day). A bucket
//! counts until all of it has left the window, so no window whatsoever holds more than its ceiling.
//! Money is counted in millionths of the currency, in integers. A code is paid for as it is written,
//! and once more for every sender that it goes to after one that may have charged for it: taken, then
//! reported undelivered. A refusal costs nothing, and neither does the sender after it.
//!
//! **The verified share** counts unproven numbers only, or a tenant's own customers would hide an
//! attack on it. A send is judged once it is five minutes old and its person had time to answer;
//! else a rush of newcomers would look like an attack in its first seconds. A stop begins the
//! count anew, so that a region that has come to its senses is open again after the pause.
//!
//! As in [`super::lockout`], the in-process store runs these functions and the Redis scripts are
//! their twins.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::contact::{PhoneNumber, Region};
use super::ids::OperationId;
use super::lockout::VERDICT_MEMORY;
use super::time::Timestamp;

/// Messages of a day to one recipient, over all tenants, channels and purposes but security mails (locks,
/// new devices, stolen tokens, changed passwords and contacts, passwords that others know): without it many
/// tenants together would be a tool to flood somebody, and with those in it a flood would silence them.
pub const RECIPIENT_PER_DAY: u32 = 50;

/// Digits of a number that its neighbours share, country code included.
const PREFIX_DIGITS: usize = 7;

/// What stands for a region where the number belongs to none (libphonenumber's word).
const NO_REGION: &str = "001";

/// An amount in millionths of a currency unit, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Money(u64);

/// The text is no amount, or finer than a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an amount from 0 to 1000000000 with at most 6 decimals")]
pub struct InvalidMoney;

impl Money {
    const DECIMALS: usize = 6;
    const UNIT: u64 = 1_000_000;
    /// What still counts exactly in the scripts' numbers.
    const MOST_UNITS: u64 = 1_000_000_000;

    /// That many whole units.
    #[must_use]
    pub const fn units(units: u64) -> Self {
        Self(units.saturating_mul(Self::UNIT))
    }

    /// That many millionths.
    #[must_use]
    pub const fn micros(micros: u64) -> Self {
        Self(micros)
    }

    /// In millionths.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

impl FromStr for Money {
    type Err = InvalidMoney;

    /// Reads decimal text exactly: nothing passes through a binary fraction.
    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let decimals = decimals.trim_end_matches('0');
        if whole.is_empty() || decimals.len() > Self::DECIMALS || !are_digits(whole) || !are_digits(decimals) {
            return Err(InvalidMoney);
        }
        let units: u64 = whole.parse().map_err(|_| InvalidMoney)?;
        let micros: u64 = format!("{decimals:0<6}").parse().map_err(|_| InvalidMoney)?;
        if units > Self::MOST_UNITS {
            return Err(InvalidMoney);
        }
        Ok(Self(units * Self::UNIT + micros))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, micros) = (self.0 / Self::UNIT, self.0 % Self::UNIT);
        if micros == 0 {
            return write!(f, "{units}");
        }
        write!(f, "{units}.{}", format!("{micros:06}").trim_end_matches('0'))
    }
}

/// A JSON number. Fifteen digits survive a binary fraction, and its shortest decimal form is what
/// its writer wrote, so `0.02` stays two hundredths exactly.
impl Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_string().parse::<f64>() {
            Ok(fraction) if !self.0.is_multiple_of(Self::UNIT) => serializer.serialize_f64(fraction),
            _ => serializer.serialize_u64(self.0 / Self::UNIT),
        }
    }
}

impl JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string"], "minimum": 0, "pattern": "^[0-9]+([.][0-9]{1,6})?$" })
    }
}

/// Takes numbers and decimal text.
impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(serde_json::Number),
            Text(String),
        }
        let text = match Form::deserialize(deserializer)? {
            Form::Text(text) => text,
            Form::Number(number) => match (number.as_u64(), number.as_f64()) {
                (Some(whole), _) => whole.to_string(),
                (None, Some(fraction)) => fraction.to_string(),
                (None, None) => number.to_string(),
            },
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where messages may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Regions {
    /// Anywhere that has mobile numbers.
    All,
    /// Only there; an empty list is nowhere.
    Only(Vec<Region>),
}

impl Regions {
    /// Whether a message may go to `number`: a mobile of a listed region. Decided by number
    /// metadata, since a calling code is no region: +1 is shared by 25 of them.
    #[must_use]
    pub fn allow(&self, number: &PhoneNumber) -> bool {
        let listed = match self {
            Self::All => true,
            Self::Only(regions) => number.region().is_some_and(|region| regions.contains(&region)),
        };
        listed && number.takes_text()
    }
}

/// Most of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// Messages.
    pub messages: u64,
    /// What they cost.
    pub money: Money,
}

/// Most messages of an hour and of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// In any hour.
    pub hour: u64,
    /// In any day.
    pub day: u64,
}

/// When too few codes to a region come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatioPolicy {
    /// Sends of an hour and of a day from which on it is judged.
    pub after: Rates,
    /// Percent of them that must have been answered rightly; 0 judges nothing.
    pub percent: u64,
    /// How long sending there stops.
    pub pause: Duration,
}

/// What being over a ceiling does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BudgetMode {
    /// Nothing is sent.
    #[default]
    Enforce,
    /// It is counted and told, and the message goes all the same.
    Record,
}

/// A tenant's SMS budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetPolicy {
    /// ISO 4217; for people, nothing is converted.
    pub currency: String,
    /// Cost of a message by region.
    pub costs: BTreeMap<String, Money>,
    /// Cost of a message to any other.
    pub default_cost: Money,
    /// The tenant's hour.
    pub hour: Ceiling,
    /// The tenant's day.
    pub day: Ceiling,
    /// Unproven numbers that share their first seven digits.
    pub prefix: Rates,
    /// Requests from one client network (/24, IPv6 /48).
    pub client: Rates,
    /// The verified share by region.
    pub ratio: RatioPolicy,
    /// Whether ceilings bind.
    pub mode: BudgetMode,
    /// The tenant's kill switch.
    pub stopped: bool,
}

impl BudgetPolicy {
    /// What a message to that region costs.
    #[must_use]
    pub fn cost(&self, region: &str) -> Money {
        self.costs.get(region).copied().unwrap_or(self.default_cost)
    }
}

/// The region a number is counted under.
#[must_use]
pub fn region_of(number: &PhoneNumber) -> String {
    number.region().as_ref().map_or(NO_REGION, Region::code).to_owned()
}

/// Where a tenant's text messages may go and what they may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmsPolicy {
    /// Where they may go.
    pub regions: Regions,
    /// What they may cost.
    pub budget: BudgetPolicy,
}

impl SmsPolicy {
    /// The default tenant's: everywhere, with room for a large service.
    #[must_use]
    pub fn wide() -> Self {
        let narrow = Self::narrow();
        Self {
            regions: Regions::All,
            budget: BudgetPolicy {
                hour: Ceiling { messages: 10_000, money: Money::units(500) },
                day: Ceiling { messages: 50_000, money: Money::units(2_500) },
                prefix: Rates { hour: 1_000, day: 5_000 },
                client: Rates { hour: 3_600, day: 20_000 },
                ratio: RatioPolicy { after: Rates { hour: 500, day: 1_000 }, ..narrow.budget.ratio },
                ..narrow.budget
            },
        }
    }

    /// A new tenant's: nowhere until it says where, and the room of a small service.
    #[must_use]
    pub fn narrow() -> Self {
        Self {
            regions: Regions::Only(Vec::new()),
            budget: BudgetPolicy {
                currency: "EUR".to_owned(),
                costs: BTreeMap::new(),
                default_cost: Money::micros(50_000),
                hour: Ceiling { messages: 1_000, money: Money::units(50) },
                day: Ceiling { messages: 5_000, money: Money::units(250) },
                prefix: Rates { hour: 30, day: 100 },
                client: Rates { hour: 60, day: 300 },
                ratio: RatioPolicy { after: Rates { hour: 50, day: 200 }, percent: 10, pause: Duration::from_hours(1) },
                mode: BudgetMode::Enforce,
                stopped: false,
            },
        }
    }
}

/// Why nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Withheld {
    /// The tenant's or the platform's kill switch.
    Stopped,
    /// Not a mobile number of a region on the list.
    Region,
    /// The recipient had enough today, over all tenants.
    Recipient,
    /// The tenant's messages of an hour or a day.
    Messages,
    /// The tenant's money of an hour or a day.
    Money,
    /// The client's network.
    Client,
    /// The number's neighbours.
    Prefix,
    /// Too few codes to the region come back.
    Ratio,
}

impl Withheld {
    /// The word of metrics and the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Region => "region",
            Self::Recipient => "recipient",
            Self::Messages => "messages",
            Self::Money => "money",
            Self::Client => "client",
            Self::Prefix => "prefix",
            Self::Ratio => "ratio",
        }
    }
}

/// One message to be paid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// This call; a repeat gets the first verdict.
    pub operation: OperationId,
    /// Where the number belongs.
    pub region: String,
    /// Its first seven digits, if no account of the tenant has it.
    pub unproven_prefix: Option<String>,
    /// The network the request came from, if that is known.
    pub client: Option<String>,
    /// What it costs.
    pub cost: Money,
    /// Why it is not sent anyway: asked all the same, so that it takes as long, is told as any
    /// other, and takes nothing.
    pub withheld: Option<Withheld>,
}

impl Spend {
    /// A message to `number`.
    #[must_use]
    pub fn on(policy: &BudgetPolicy, operation: OperationId, number: &PhoneNumber) -> Self {
        let region = region_of(number);
        Self {
            operation,
            cost: policy.cost(&region),
            region,
            unproven_prefix: Some(prefix(number)),
            client: None,
            withheld: None,
        }
    }

    /// Something that costs no money and is withheld: a mail.
    #[must_use]
    pub fn on_nothing(operation: OperationId, withheld: Withheld) -> Self {
        Self {
            operation,
            region: NO_REGION.to_owned(),
            unproven_prefix: None,
            client: None,
            cost: Money::default(),
            withheld: Some(withheld),
        }
    }
}

fn prefix(number: &PhoneNumber) -> String {
    number.as_str().chars().filter(char::is_ascii_digit).take(PREFIX_DIGITS).collect()
}

/// A ceiling that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Which.
    pub by: Withheld,
    /// Whether the audit log should hear of it: once an hour for each kind and region.
    pub tell: bool,
}

/// Answer to a [`Spend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendVerdict {
    /// Whether it was taken from every ceiling; else from none.
    pub taken: bool,
    /// The first ceiling it met; in record mode it is taken all the same.
    pub reached: Option<Reached>,
    /// When.
    pub at: Timestamp,
}

const FINE: Duration = Duration::from_mins(5);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Two numbers that are counted together.
type Pair = (u64, u64);

/// Buckets of one width.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Buckets(BTreeMap<i64, Pair>);

impl Buckets {
    fn index(at: Timestamp, width: Duration) -> i64 {
        at.as_millis().div_euclid(i64::try_from(width.as_millis()).unwrap_or(i64::MAX).max(1))
    }

    /// Buckets that end before `now - window` have left it.
    fn oldest(now: Timestamp, width: Duration, window: Duration) -> i64 {
        Self::index(now - window, width)
    }

    fn sweep(&mut self, oldest: i64) {
        self.0 = self.0.split_off(&oldest);
    }

    fn add(&mut self, index: i64, by: Pair) {
        let bucket = self.0.entry(index).or_default();
        *bucket = (bucket.0.saturating_add(by.0), bucket.1.saturating_add(by.1));
    }

    fn take_back(&mut self, index: i64, by: Pair) {
        if let Some(bucket) = self.0.get_mut(&index) {
            *bucket = (bucket.0.saturating_sub(by.0), bucket.1.saturating_sub(by.1));
        }
    }

    fn sum(&self, from: i64) -> Pair {
        let add = |sum: Pair, next: &Pair| (sum.0.saturating_add(next.0), sum.1.saturating_add(next.1));
        self.0.range(from..).map(|(_, bucket)| bucket).fold((0, 0), add)
    }
}

/// What was counted in the last hour and the last day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Spread {
    fine: Buckets,
    coarse: Buckets,
}

impl Spread {
    fn add(&mut self, now: Timestamp, by: Pair) {
        self.fine.sweep(Buckets::oldest(now, FINE, HOUR));
        self.coarse.sweep(Buckets::oldest(now, HOUR, DAY));
        self.fine.add(Buckets::index(now, FINE), by);
        self.coarse.add(Buckets::index(now, HOUR), by);
    }

    fn take_back(&mut self, at: Timestamp, by: Pair) {
        self.fine.take_back(Buckets::index(at, FINE), by);
        self.coarse.take_back(Buckets::index(at, HOUR), by);
    }

    fn hour(&self, now: Timestamp) -> Pair {
        self.fine.sum(Buckets::oldest(now, FINE, HOUR))
    }

    fn day(&self, now: Timestamp) -> Pair {
        self.coarse.sum(Buckets::oldest(now, HOUR, DAY))
    }

    /// What may not be five minutes old yet.
    fn fresh(&self, now: Timestamp) -> Pair {
        self.fine.sum(Buckets::index(now, FINE) - 1)
    }

    fn is_over(&self, rates: Rates, now: Timestamp) -> bool {
        self.hour(now).0 + 1 > rates.hour || self.day(now).0 + 1 > rates.day
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        let oldest = Buckets::oldest(now, HOUR, DAY);
        self.coarse.0.keys().next_back().is_none_or(|newest| *newest < oldest)
    }
}

/// What a tenant spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetUsage {
    /// Messages of the last hour.
    pub hour_messages: u64,
    /// Their cost in millionths.
    pub hour_micros: u64,
    /// Messages of the last day.
    pub day_messages: u64,
    /// Their cost in millionths.
    pub day_micros: u64,
    /// Regions stopped by their verified share, and until when.
    pub stops: BTreeMap<String, Timestamp>,
    /// What the audit log heard of in the last hour, as `kind:region`, and when.
    pub reached: BTreeMap<String, Timestamp>,
}

/// Everything remembered about one tenant's text messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BudgetBook {
    /// Messages and money.
    tenant: Spread,
    /// Messages.
    clients: BTreeMap<String, Spread>,
    /// Messages to unproven numbers.
    prefixes: BTreeMap<String, Spread>,
    /// Messages to unproven numbers, and codes of them that came back.
    regions: BTreeMap<String, Spread>,
    stops: BTreeMap<String, Timestamp>,
    told: BTreeMap<String, Timestamp>,
    /// First verdicts, for repeats.
    verdicts: BTreeMap<OperationId, SpendVerdict>,
    /// The same, oldest first, for forgetting.
    judged: VecDeque<(Timestamp, OperationId)>,
    /// Spreads that were left when the idle ones were last removed.
    swept_to: usize,
}

impl BudgetBook {
    /// Takes a message from every ceiling, or from none.
    pub fn take(&mut self, policy: &BudgetPolicy, spend: &Spend, now: Timestamp) -> SpendVerdict {
        self.sweep(now);
        if let Some(first) = self.verdicts.get(&spend.operation) {
            return *first;
        }
        let reached = self.reaches(policy, spend, now);
        let binds = spend.withheld.is_some() || policy.mode == BudgetMode::Enforce;
        let taken = reached.is_none() || !binds;
        if taken {
            for (spread, by) in self.spreads(spend) {
                spread.add(now, by);
            }
        }
        let verdict = SpendVerdict { taken, reached, at: now };
        self.verdicts.insert(spend.operation, verdict);
        self.judged.push_back((now, spend.operation));
        verdict
    }

    /// Gives a taken message back: it could not be written. Once; a repeat finds nothing.
    pub fn give_back(&mut self, spend: &Spend) {
        let Some(verdict) = self.verdicts.remove(&spend.operation).filter(|verdict| verdict.taken) else { return };
        for (spread, by) in self.spreads(spend) {
            spread.take_back(verdict.at, by);
        }
    }

    /// A code to an unproven number of that region came back.
    pub fn verified(&mut self, region: &str, now: Timestamp) {
        if let Some(sent) = self.regions.get_mut(region) {
            sent.add(now, (0, 1));
        }
    }

    /// What was spent.
    #[must_use]
    pub fn usage(&self, now: Timestamp) -> BudgetUsage {
        let ((hour_messages, hour_micros), (day_messages, day_micros)) = (self.tenant.hour(now), self.tenant.day(now));
        let stops = self.stops.iter().filter(|(_, until)| **until > now);
        let reached = self.told.iter().filter(|(_, at)| **at + HOUR > now);
        BudgetUsage {
            hour_messages,
            hour_micros,
            day_messages,
            day_micros,
            stops: stops.map(|(region, until)| (region.clone(), *until)).collect(),
            reached: reached.map(|(what, at)| (what.clone(), *at)).collect(),
        }
    }

    /// When the book holds nothing worth keeping any more.
    #[must_use]
    pub fn idle_after(now: Timestamp) -> Timestamp {
        now + DAY + HOUR
    }

    fn sweep(&mut self, now: Timestamp) {
        while let Some((_, operation)) = self.judged.pop_front_if(|(at, _)| *at + VERDICT_MEMORY <= now) {
            self.verdicts.remove(&operation);
        }
        self.stops.retain(|_, until| *until > now);
        self.told.retain(|_, at| *at + HOUR > now);
        // As often as it has doubled: no call pays for more than its share.
        if self.clients.len() + self.prefixes.len() > 2 * self.swept_to + 1_000 {
            self.clients.retain(|_, spread| !spread.is_idle(now));
            self.prefixes.retain(|_, spread| !spread.is_idle(now));
            self.swept_to = self.clients.len() + self.prefixes.len();
        }
    }

    /// Everything a message is counted in, and how.
    fn spreads(&mut self, spend: &Spend) -> Vec<(&mut Spread, Pair)> {
        let mut spreads = vec![(&mut self.tenant, (1, spend.cost.as_micros()))];
        if let Some(client) = &spend.client {
            spreads.push((self.clients.entry(client.clone()).or_default(), (1, 0)));
        }
        if let Some(prefix) = &spend.unproven_prefix {
            spreads.push((self.prefixes.entry(prefix.clone()).or_default(), (1, 0)));
            spreads.push((self.regions.entry(spend.region.clone()).or_default(), (1, 0)));
        }
        spreads
    }

    fn reaches(&mut self, policy: &BudgetPolicy, spend: &Spend, now: Timestamp) -> Option<Reached> {
        let ceiling = spend.withheld.or_else(|| self.over(policy, spend, now));
        if let Some(by) = ceiling {
            return Some(Reached { by, tell: self.is_news(by, &spend.region, now) });
        }
        let newly = spend.unproven_prefix.is_some().then(|| self.stop(policy.ratio, &spend.region, now)).flatten()?;
        if newly {
            self.told.insert(about(Withheld::Ratio, &spend.region), now);
        }
        Some(Reached { by: Withheld::Ratio, tell: newly })
    }

    /// The first ceiling that has no room for one more.
    fn over(&self, policy: &BudgetPolicy, spend: &Spend, now: Timestamp) -> Option<Withheld> {
        let windows = [(self.tenant.hour(now), policy.hour), (self.tenant.day(now), policy.day)];
        if windows.iter().any(|((messages, _), most)| messages + 1 > most.messages) {
            return Some(Withheld::Messages);
        }
        if windows.iter().any(|((_, money), most)| money + spend.cost.as_micros() > most.money.as_micros()) {
            return Some(Withheld::Money);
        }
        let is_over = |spreads: &BTreeMap<String, Spread>, key: Option<&String>, rates| {
            key.and_then(|key| spreads.get(key)).is_some_and(|spread| spread.is_over(rates, now))
        };
        if is_over(&self.clients, spend.client.as_ref(), policy.client) {
            return Some(Withheld::Client);
        }
        is_over(&self.prefixes, spend.unproven_prefix.as_ref(), policy.prefix).then_some(Withheld::Prefix)
    }

    /// Whether sending to the region is stopped, and if so, whether it was just now.
    fn stop(&mut self, ratio: RatioPolicy, region: &str, now: Timestamp) -> Option<bool> {
        if self.stops.contains_key(region) {
            return Some(false);
        }
        let sent = self.regions.get(region)?;
        let fresh = sent.fresh(now).0;
        let too_few = |(sends, verified): Pair, after: u64| {
            let judged = sends.saturating_sub(fresh);
            judged >= after && verified * 100 < ratio.percent * judged
        };
        if !too_few(sent.hour(now), ratio.after.hour) && !too_few(sent.day(now), ratio.after.day) {
            return None;
        }
        self.regions.remove(region);
        self.stops.insert(region.to_owned(), now + ratio.pause);
        Some(true)
    }

    fn is_news(&mut self, by: Withheld, region: &str, now: Timestamp) -> bool {
        let about = about(by, region);
        let is_news = !self.told.contains_key(&about);
        if is_news {
            self.told.insert(about, now);
        }
        is_news
    }
}

fn about(by: Withheld, region: &str) -> String {
    format!("{}:{region}", by.as_str())
}

#[cfg(test)]
mod tests;
