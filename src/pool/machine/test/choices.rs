//! A source of choices for random tests, which can be replayed and made shorter.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Numbers that decide what happens next. When they are used up, every choice is the first one.
#[derive(Clone)]
pub(super) struct Choices {
    numbers: Vec<u32>,
    at: usize,
}

impl Choices {
    fn new(numbers: Vec<u32>) -> Choices {
        Choices { numbers, at: 0 }
    }

    fn random(seed: u64, count: usize) -> Choices {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let numbers = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        });
        Choices::new(numbers.take(count).collect())
    }

    /// One of `0..below`.
    pub(super) fn below(&mut self, below: usize) -> usize {
        let number = self.numbers.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        number as usize % below.max(1)
    }

    pub(super) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.at >= self.numbers.len()
    }
}

/// Runs `test` with choices of many seeds. One that fails is made as short as it goes, and runs once more.
pub(super) fn for_random_choices(seeds: std::ops::Range<u64>, length: usize, test: fn(Choices)) {
    for seed in seeds {
        let choices = Choices::random(seed, length);
        if fails(&choices, test) {
            let short = shortened(choices.numbers, test);
            let failure = catch_unwind(AssertUnwindSafe(|| test(Choices::new(short.clone()))));
            let text = failure.err().and_then(|payload| payload.downcast::<String>().ok());
            panic!("seed {seed} fails, also as {short:?}: {}", text.unwrap_or_default());
        }
    }
}

fn fails(choices: &Choices, test: fn(Choices)) -> bool {
    catch_unwind(AssertUnwindSafe(|| test(choices.clone()))).is_err()
}

fn shortened(mut numbers: Vec<u32>, test: fn(Choices)) -> Vec<u32> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let mut piece = numbers.len() / 2;
    while piece > 0 {
        let mut start = 0;
        while start < numbers.len() {
            let mut shorter = numbers.clone();
            shorter.drain(start..numbers.len().min(start + piece));
            if fails(&Choices::new(shorter.clone()), test) {
                numbers = shorter;
            } else {
                start += piece;
            }
        }
        piece /= 2;
    }
    std::panic::set_hook(hook);
    numbers
}
