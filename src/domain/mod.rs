//! The rules, and nothing but the rules.
//!
//! Everything here is a pure function of facts, policy and `now`: no async, no I/O, no clock, no
//! generator, no logging, and no import of any other module of ours. Time arrives as a
//! [`time::Timestamp`], randomness as bytes. The layers above read facts from a store, ask a
//! function here for a verdict, write down what changed and answer.
//!
//! Read in this order: [`ids`] and [`time`] (the words), [`contact`] and [`device`] (who is
//! asking), [`policy`] and [`settings`] (a tenant's numbers, their legal ranges, its own document), [`lockout`] and [`otp`] (the
//! two books that count guesses), [`limits`] (who may ask how often), [`budget`] (what text messages
//! may cost), [`password`], [`sign_in`], [`session`], [`token`] (what a right answer earns),
//! [`signing_key`] (what signs it), [`test_identity`] (whose code is fixed), [`message`] and
//! [`delivery`] (what people are told, and what is known of its arrival), [`event`] (what is written
//! down about it).

pub mod account;
pub mod app;
pub mod budget;
pub mod contact;
pub mod delivery;
pub mod device;
pub mod event;
pub mod fault;
pub mod ids;
pub mod limits;
pub mod locale;
pub mod lockout;
pub mod message;
pub mod naming;
pub mod otp;
pub mod password;
pub mod policy;
pub mod role;
pub mod session;
pub mod settings;
pub mod sign_in;
pub mod signing_key;
pub mod test_identity;
pub mod time;
pub mod token;
