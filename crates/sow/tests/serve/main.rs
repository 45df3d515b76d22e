//! `sow serve`: what it shares and when, what it remembers, and what it tells a service manager.

#[path = "../support/mod.rs"]
mod support;

mod content;
mod manager;
mod restart;
mod service;
