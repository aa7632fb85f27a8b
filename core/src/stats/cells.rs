//! The memory behind counters and gauges: for each stat one number per worker, which only that worker writes.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers on one cache line of 64 bytes.
const LINE: usize = 8;
/// Cache lines in one row of a page.
const LINES_IN_ROW: usize = SLOTS as usize / LINE;
/// Stats on one page.
const SLOTS: u8 = 64;
/// The row that all threads share that are not workers.
const SHARED_ROW: usize = 0;

thread_local! {
    /// The row that this thread owns, or [`SHARED_ROW`].
    static ROW: Cell<usize> = const { Cell::new(SHARED_ROW) };
}

/// Makes the calling thread worker number `index` (from 0), for the rest of its life.
///
/// It then owns the cells of that number in every store with so many workers, and writes them without locking the
/// bus. Two live threads of one server may therefore not have the same number. A thread that never calls this, or
/// whose number is beyond the workers of the store, counts in cells that such threads share: correct, but slower.
pub fn set_worker(index: usize) {
    ROW.set(index + 1);
}

/// The row of the calling thread among `rows` rows.
pub(super) fn current_row(rows: usize) -> usize {
    let row = ROW.get();
    if row < rows { row } else { SHARED_ROW }
}

/// Eight neighbours; they belong to one worker, so that no line is written by two.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; LINE]);

/// Cells of up to [`SLOTS`] stats: row after row, one row for each worker.
#[derive(Debug)]
struct Page {
    lines: Box<[Line]>,
    rows: usize,
    free: Mutex<Vec<u8>>,
}

impl Page {
    fn new(rows: usize) -> Self {
        let lines = std::iter::repeat_with(Line::default).take(rows * LINES_IN_ROW).collect();
        let free = (0..SLOTS).rev().collect();
        Self { lines, rows, free: Mutex::new(free) }
    }

    fn cell(&self, row: usize, slot: u8) -> &AtomicU64 {
        let slot = usize::from(slot);
        &self.lines[row * LINES_IN_ROW + slot / LINE].0[slot % LINE]
    }

    fn take_slot(&self) -> Option<u8> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Gives out cells, page by page, and takes them back.
#[derive(Debug)]
pub(super) struct CellPool {
    rows: usize,
    pages: Mutex<Vec<Arc<Page>>>,
}

impl CellPool {
    pub(super) fn new(workers: usize) -> Self {
        Self { rows: workers + 1, pages: Mutex::default() }
    }

    /// Rows of each page: the workers and the shared one.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Cells for one stat, all zero.
    pub(super) fn take(&self) -> Cells {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        for page in pages.iter().rev() {
            if let Some(slot) = page.take_slot() {
                return Cells { page: Arc::clone(page), slot };
            }
        }
        let page = Arc::new(Page::new(self.rows));
        // A new page has all its slots, so the first is there.
        let slot = page.take_slot().unwrap_or_default();
        pages.push(Arc::clone(&page));
        Cells { page, slot }
    }
}

/// The cells of one stat. Dropping them gives them back.
#[derive(Debug)]
pub(super) struct Cells {
    page: Arc<Page>,
    slot: u8,
}

impl Cells {
    /// Adds `amount`, modulo 2^64, to the calling thread's cell.
    pub(super) fn add(&self, amount: u64) {
        let row = current_row(self.page.rows);
        let cell = self.page.cell(row, self.slot);
        if row == SHARED_ROW {
            cell.fetch_add(amount, Ordering::Relaxed);
        } else {
            // Only this thread writes the cell, so nothing can come between the two.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        }
    }

    /// The sum over all threads, modulo 2^64.
    pub(super) fn sum(&self) -> u64 {
        (0..self.page.rows)
            .map(|row| self.page.cell(row, self.slot).load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }

    /// Makes the sum `value`, as far as no worker adds at the same time.
    pub(super) fn set_sum(&self, value: u64) {
        let workers = (SHARED_ROW + 1..self.page.rows)
            .map(|row| self.page.cell(row, self.slot).load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add);
        self.page.cell(SHARED_ROW, self.slot).store(value.wrapping_sub(workers), Ordering::Relaxed);
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        for row in 0..self.page.rows {
            self.page.cell(row, self.slot).store(0, Ordering::Relaxed);
        }
        self.page.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}
