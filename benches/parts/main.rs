//! The parts, one by one: `cargo bench --bench parts [-- NAME]`.
//!
//! What is private is taken from the very files that ship.

#![allow(dead_code, unused_imports, reason = "the files have more than is measured here, their tests too")]

mod lane;
mod link;
mod pool;
mod primitive;

fn main() {
    watertight::init();
    divan::main();
}
