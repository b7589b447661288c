//! Source lines, as numbers that every process of the tree understands.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::{Mutex, PoisonError};

use crate::primitive::Ordering;
use crate::shm::text;

use super::Roster;
use super::known::KNOWN;
use super::layout::{self, MAX_SITES, SITE};

static NUMBERS: Mutex<Option<HashMap<(u64, usize), u32>>> = Mutex::new(None);

impl Roster {
    /// The number of a source line; zero if there is no room for another one.
    pub(crate) fn site(&self, location: &'static Location<'static>) -> u32 {
        KNOWN.with(|known| known.site(self.instance, location)).unwrap_or_else(|| {
            let number = self.number(location);
            KNOWN.with(|known| known.remember(self.instance, location, number));
            number
        })
    }

    fn number(&self, location: &'static Location<'static>) -> u32 {
        let address = std::ptr::from_ref(location) as usize;
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = numbers.get_or_insert_default();
        // Those of a roster that was left are of no use any more.
        numbers.retain(|(instance, _), _| *instance == self.instance);
        *numbers.entry((self.instance, address)).or_insert_with(|| self.enter_site(location))
    }

    fn enter_site(&self, location: &Location<'_>) -> u32 {
        let whole = format!("{}:{}", location.file(), location.line());
        // The end of a long path says more than its beginning.
        let start = (whole.len() + 1).saturating_sub(SITE);
        let start = (start..whole.len()).find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        let line = &whole[start..];
        let count = self.segment().word(layout::AT_SITES);
        let entered = (count.load(Ordering::Acquire) as usize).min(MAX_SITES);
        if let Some(number) =
            (1..=entered).find(|number| self.site_text(*number as u32).as_deref() == Some(line))
        {
            return number as u32;
        }
        let before = count.fetch_add(1, Ordering::AcqRel);
        if before >= MAX_SITES as u64 {
            count.fetch_sub(1, Ordering::AcqRel);
            return 0;
        }
        let number = before as usize + 1;
        text::write(self.segment(), layout::site(number), SITE, line);
        number as u32
    }

    /// `file:line` of a number.
    pub(crate) fn site_text(&self, number: u32) -> Option<String> {
        let number = number as usize;
        if !(1..=MAX_SITES).contains(&number) {
            return None;
        }
        Some(text::read(self.segment(), layout::site(number), SITE)).filter(|text| !text.is_empty())
    }
}
