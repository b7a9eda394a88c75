//! Each ceiling for itself, and what they do together.

use super::*;

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_mins(1);

fn operation(n: u64) -> OperationId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    OperationId::random(bytes)
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text, None).unwrap()
}

/// Room for everything.
fn open() -> BudgetPolicy {
    let vast = Ceiling { messages: 1_000_000, money: Money::units(1_000_000) };
    let many = Rates { hour: 1_000_000, day: 1_000_000 };
    let ratio = RatioPolicy { after: many, percent: 10, pause: HOUR };
    BudgetPolicy { hour: vast, day: vast, prefix: many, client: many, ratio, ..SmsPolicy::narrow().budget }
}

/// Tells stories to one book.
struct Story {
    book: BudgetBook,
    policy: BudgetPolicy,
    now: Timestamp,
    asked: u64,
    /// Numbers are read once: the metadata take their time.
    known: BTreeMap<String, Spend>,
}

impl Story {
    fn new(policy: BudgetPolicy) -> Self {
        Self { book: BudgetBook::default(), policy, now: T0, asked: 0, known: BTreeMap::new() }
    }

    fn spend(&mut self, to: &str) -> Spend {
        self.asked += 1;
        let read = || Spend::on(&self.policy, operation(0), &number(to));
        let spend = self.known.entry(to.to_owned()).or_insert_with(read);
        Spend { operation: operation(self.asked), ..spend.clone() }
    }

    fn send(&mut self, to: &str) -> Option<Withheld> {
        let spend = self.spend(to);
        self.take(&spend)
    }

    fn send_proven(&mut self, to: &str) -> Option<Withheld> {
        let spend = Spend { unproven_prefix: None, ..self.spend(to) };
        self.take(&spend)
    }

    fn take(&mut self, spend: &Spend) -> Option<Withheld> {
        let verdict = self.book.take(&self.policy, spend, self.now);
        assert_eq!(verdict.taken, verdict.reached.is_none(), "{verdict:?}");
        verdict.reached.map(|reached| reached.by)
    }

    fn wait(&mut self, length: Duration) {
        self.now = self.now + length;
    }
}

const AWA: &str = "+221771234567";
const NEIGHBOUR: &str = "+221771299999";
const ELSEWHERE: &str = "+221781234567";
const IN_FRANCE: &str = "+33612345678";

#[test]
fn amounts_are_exact() {
    for (text, micros, shown) in
        [("0.02", 20_000, "0.02"), ("2", 2_000_000, "2"), ("0.000001", 1, "0.000001"), ("1.50", 1_500_000, "1.5")]
    {
        let money: Money = text.parse().unwrap();
        assert_eq!((money.as_micros(), money.to_string().as_str()), (micros, shown), "{text}");
        let json: Money = serde_json::from_str(text).unwrap();
        assert_eq!(json, money, "{text}");
    }
    for text in ["", ".5", "-1", "1e3", "0.0000001", "1000000001", "1.2.3", "NaN", "1,5"] {
        assert!(text.parse::<Money>().is_err(), "{text} is taken");
    }
    let tenths: u64 = (0..10).map(|_| "0.1".parse::<Money>().unwrap().as_micros()).sum();
    assert_eq!(Money::micros(tenths), Money::units(1));
}

#[test]
fn no_hour_holds_more_messages_than_its_ceiling() {
    let ceiling = Ceiling { messages: 10, ..open().hour };
    let mut story = Story::new(BudgetPolicy { hour: ceiling, ..open() });
    let mut sent = Vec::new();
    for _ in 0..600 {
        if story.send(AWA).is_none() {
            sent.push(story.now);
        }
        story.wait(Duration::from_secs(47));
    }

    for at in &sent {
        let within = sent.iter().filter(|other| *other >= at && other.since(*at) < HOUR).count();
        assert!(within <= 10, "{within} within an hour");
    }
    assert!(sent.len() > 60, "the ceiling is a rate, not a wall: {}", sent.len());
}

#[test]
fn money_is_counted_by_region_and_never_overdrawn() {
    let costs = BTreeMap::from([("SN".to_owned(), Money::micros(30_000))]);
    let day = Ceiling { money: Money::micros(100_000), ..open().day };
    let mut story = Story::new(BudgetPolicy { costs, day, ..open() });

    assert_eq!(story.send(AWA), None);
    assert_eq!(story.send(IN_FRANCE), None);
    // 30,000 + 50,000 are spent: the next 30,000 do not fit, nor would they after an hour.
    assert_eq!(story.send(AWA), Some(Withheld::Money));
    story.wait(2 * HOUR);
    assert_eq!(story.send(AWA), Some(Withheld::Money));

    let usage = story.book.usage(story.now);
    assert_eq!((usage.day_messages, usage.day_micros), (2, 80_000));
    assert_eq!((usage.hour_messages, usage.hour_micros), (0, 0));
    story.wait(DAY);
    assert_eq!(story.send(AWA), None);
}

#[test]
fn a_prefix_closes_for_strangers_and_stays_open_for_customers() {
    let mut story = Story::new(BudgetPolicy { prefix: Rates { hour: 2, day: 3 }, ..open() });

    assert_eq!([story.send(AWA), story.send(NEIGHBOUR)], [None, None]);

    assert_eq!(story.send(NEIGHBOUR), Some(Withheld::Prefix));
    assert_eq!(story.send_proven(AWA), None);
    assert_eq!(story.send(ELSEWHERE), None);
    story.wait(HOUR + FINE);
    assert_eq!(story.send(NEIGHBOUR), None);
    assert_eq!(story.send(AWA), Some(Withheld::Prefix), "the day's three are used");
}

#[test]
fn a_client_network_has_its_share_and_an_unknown_one_none() {
    let mut story = Story::new(BudgetPolicy { client: Rates { hour: 1, day: 9 }, ..open() });
    let mut from = |client: Option<&str>| {
        let spend = Spend { client: client.map(str::to_owned), ..story.spend(AWA) };
        story.take(&spend)
    };

    assert_eq!(from(Some("192.0.2.0/24")), None);
    assert_eq!(from(Some("192.0.2.0/24")), Some(Withheld::Client));
    assert_eq!(from(Some("198.51.100.0/24")), None);
    assert_eq!([from(None), from(None)], [None, None]);
}

#[test]
fn a_refusal_takes_from_no_ceiling() {
    let mut story = Story::new(BudgetPolicy { prefix: Rates { hour: 1, day: 9 }, ..open() });
    story.send(AWA);

    for _ in 0..100 {
        assert_eq!(story.send(AWA), Some(Withheld::Prefix));
    }

    assert_eq!(story.book.usage(story.now).hour_messages, 1);
}

#[test]
fn what_could_not_be_written_is_given_back_once() {
    let mut story = Story::new(BudgetPolicy { prefix: Rates { hour: 2, day: 9 }, ..open() });
    story.send(AWA);
    let lost = story.spend(AWA);
    story.take(&lost);

    story.book.give_back(&lost);
    story.book.give_back(&lost);

    assert_eq!(story.book.usage(story.now).hour_messages, 1);
    assert_eq!([story.send(AWA), story.send(AWA)], [None, Some(Withheld::Prefix)]);
}

#[test]
fn a_repeated_call_counts_once() {
    let mut story = Story::new(open());
    let spend = story.spend(AWA);

    let verdicts = [0, 1].map(|_| story.book.take(&story.policy, &spend, story.now));

    assert_eq!(verdicts[0], verdicts[1]);
    assert_eq!(story.book.usage(story.now).hour_messages, 1);
}

fn judged() -> BudgetPolicy {
    let after = Rates { hour: 50, day: 200 };
    BudgetPolicy { ratio: RatioPolicy { after, percent: 10, pause: HOUR }, ..open() }
}

#[test]
fn a_region_whose_codes_never_come_back_stops_and_opens_again() {
    let mut story = Story::new(judged());
    for _ in 0..50 {
        assert_eq!(story.send(AWA), None);
    }
    story.wait(2 * FINE);

    assert_eq!(story.send(AWA), Some(Withheld::Ratio));

    assert_eq!(story.send(ELSEWHERE), Some(Withheld::Ratio), "the whole region");
    assert_eq!(story.send_proven(AWA), None, "customers go on");
    assert_eq!(story.send(IN_FRANCE), None, "other regions go on");
    assert!(story.book.usage(story.now).stops.contains_key("SN"));
    story.wait(HOUR);
    assert_eq!(story.send(AWA), None);
}

#[test]
fn a_region_whose_codes_come_back_never_stops() {
    let mut story = Story::new(judged());
    for n in 0..2_000 {
        assert_eq!(story.send(AWA), None, "{n}");
        if n % 8 == 0 {
            story.book.verified("SN", story.now);
        }
        story.wait(Duration::from_secs(10));
    }
}

#[test]
fn a_rush_of_newcomers_is_not_judged_before_they_can_answer() {
    let mut story = Story::new(judged());

    for _ in 0..500 {
        assert_eq!(story.send(AWA), None);
    }
    story.wait(4 * MINUTE);
    assert_eq!(story.send(AWA), None);
    for _ in 0..100 {
        story.book.verified("SN", story.now);
    }

    story.wait(30 * MINUTE);
    assert_eq!(story.send(AWA), None);
}

#[test]
fn slow_pumping_below_the_hours_threshold_is_found_by_the_day() {
    let mut story = Story::new(judged());
    let mut sent = 0;
    while story.send(AWA).is_none() {
        sent += 1;
        assert!(sent < 300, "never stopped");
        story.wait(2 * MINUTE);
    }

    assert!((200..=205).contains(&sent), "{sent}");
}

#[test]
fn customers_do_not_hide_an_attack_on_their_region() {
    let mut story = Story::new(judged());
    for _ in 0..1_000 {
        story.send_proven(AWA);
    }
    for _ in 0..50 {
        story.send(AWA);
    }
    story.wait(2 * FINE);

    assert_eq!(story.send(AWA), Some(Withheld::Ratio));
}

#[test]
fn record_mode_counts_and_tells_and_stops_nothing() {
    let ceiling = Ceiling { messages: 1, ..open().hour };
    let policy = BudgetPolicy { hour: ceiling, mode: BudgetMode::Record, ..open() };
    let mut story = Story::new(policy);
    let mut verdict = || {
        let spend = story.spend(AWA);
        story.book.take(&story.policy, &spend, story.now)
    };

    let verdicts = [verdict(), verdict(), verdict()];

    assert!(verdicts.iter().all(|verdict| verdict.taken));
    let reached = verdicts.map(|verdict| verdict.reached.map(|reached| (reached.by, reached.tell)));
    assert_eq!(reached, [None, Some((Withheld::Messages, true)), Some((Withheld::Messages, false))]);
    assert_eq!(story.book.usage(story.now).hour_messages, 3);
}

#[test]
fn what_is_withheld_anyway_takes_nothing_and_is_told_once_an_hour() {
    let policy = BudgetPolicy { mode: BudgetMode::Record, ..open() };
    let mut story = Story::new(policy);
    let mut told = 0;
    for _ in 0..180 {
        let spend = Spend { withheld: Some(Withheld::Region), ..story.spend(AWA) };
        let verdict = story.book.take(&story.policy, &spend, story.now);
        assert!(!verdict.taken);
        told += u32::from(verdict.reached.unwrap().tell);
        story.wait(MINUTE);
    }

    assert_eq!(told, 3);
    assert_eq!(story.book.usage(story.now).hour_messages, 0);
}

#[test]
fn idle_networks_and_prefixes_are_forgotten() {
    let mut story = Story::new(open());
    for n in 0..20_000_u32 {
        let spend = Spend { client: Some(n.to_string()), ..story.spend(AWA) };
        story.take(&spend);
        story.wait(MINUTE);
    }

    assert!(story.book.clients.len() < 6_000, "{}", story.book.clients.len());
}
