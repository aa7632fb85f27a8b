//! The memory behind counters and gauges: for each stat one number per worker, which only that worker writes.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Numbers on one cache line of 64 bytes.
const LINE: usize = 8;
/// Stats on a page that is shared by stats that do not know of each other.
const SLOTS: usize = 64;
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
#[inline]
pub(super) fn current_row(rows: usize) -> usize {
    // Unlike `get`, this is compiled into who asks, also where nothing is linked as a whole.
    let row = ROW.try_with(Cell::get).unwrap_or(SHARED_ROW);
    if row < rows { row } else { SHARED_ROW }
}

/// Eight neighbours; they belong to one worker, so that no line is written by two.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; LINE]);

/// Cells of some stats: row after row, one row for each worker.
#[derive(Debug)]
struct Page {
    lines: Box<[Line]>,
    rows: usize,
    lines_in_row: usize,
    /// Where its cells go when nobody needs them any more.
    home: Weak<FreeCells>,
}

impl Page {
    fn new(rows: usize, slots: usize, home: Weak<FreeCells>) -> Self {
        let lines_in_row = slots.div_ceil(LINE);
        let lines = std::iter::repeat_with(Line::default).take(rows * lines_in_row).collect();
        Self { lines, rows, lines_in_row, home }
    }

    fn cell(&self, row: usize, slot: usize) -> &AtomicU64 {
        &self.lines[row * self.lines_in_row + slot / LINE].0[slot % LINE]
    }
}

/// Gives out cells, page by page, and takes them back.
#[derive(Debug)]
pub(super) struct CellPool {
    rows: usize,
    free: Arc<FreeCells>,
}

/// The cells that nobody has. Those of one page stand together, so that stats that are made together are neighbours. Giving
/// one out looks at none of the others, so a stat costs the same however many there are.
#[derive(Debug, Default)]
struct FreeCells(Mutex<Vec<(Arc<Page>, usize)>>);

impl FreeCells {
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Page>, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CellPool {
    pub(super) fn new(workers: usize) -> Self {
        Self { rows: workers + 1, free: Arc::default() }
    }

    /// Rows of each page: the workers and the shared one.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Cells for one stat, all zero.
    pub(super) fn take(&self) -> Cells {
        let mut free = self.free.lock();
        if let Some((page, slot)) = free.pop() {
            return Cells(Place { page, slot });
        }
        let page = Arc::new(Page::new(self.rows, SLOTS, Arc::downgrade(&self.free)));
        // The first of the page is given out, the others after it, in their order.
        free.extend((1..SLOTS).rev().map(|slot| (Arc::clone(&page), slot)));
        Cells(Place { page, slot: 0 })
    }

    /// Cells for that many stats, all zero, on a page of their own.
    pub(super) fn take_many(&self, count: usize) -> Cells {
        Cells(Place { page: Arc::new(Page::new(self.rows, count, Weak::new())), slot: 0 })
    }
}

/// The cells of a block of stats. Dropping them gives them back.
#[derive(Debug)]
pub(super) struct Cells(Place);

/// The cells of one stat, for as long as somebody holds the [`Cells`].
#[derive(Debug, Clone)]
pub(super) struct Place {
    page: Arc<Page>,
    slot: usize,
}

impl Cells {
    /// Those of the stat number `index`.
    pub(super) fn place(&self, index: usize) -> Place {
        Place { page: Arc::clone(&self.0.page), slot: self.0.slot + index }
    }
}

impl Place {
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
        let Place { page, slot } = &self.0;
        // A page of its own has no home, and goes with its stats.
        let Some(home) = page.home.upgrade() else { return };
        for row in 0..page.rows {
            page.cell(row, *slot).store(0, Ordering::Relaxed);
        }
        home.lock().push((Arc::clone(page), *slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(cells: &Cells) -> *const Page {
        Arc::as_ptr(&cells.0.page)
    }

    #[test]
    fn pages_are_filled_before_there_is_another() {
        let pool = CellPool::new(1);
        let cells: Vec<Cells> = std::iter::repeat_with(|| pool.take()).take(200).collect();
        let pages: std::collections::HashSet<_> = cells.iter().map(page_of).collect();
        assert_eq!(pages.len(), 200_usize.div_ceil(SLOTS));
        let neighbours = cells.windows(2).filter(|pair| page_of(&pair[0]) == page_of(&pair[1]));
        assert!(neighbours.clone().count() >= 196);
        assert!({ neighbours }.all(|pair| pair[0].0.slot + 1 == pair[1].0.slot));
    }

    #[test]
    fn what_is_given_back_is_given_out_again_at_zero() {
        let pool = CellPool::new(1);
        let mut cells: Vec<Cells> = std::iter::repeat_with(|| pool.take()).take(640).collect();
        let free = pool.free.lock().len();
        cells.iter().for_each(|cells| cells.place(0).add(7));
        // Every third, from all pages.
        let mut index = 0;
        cells.retain(|_| {
            index += 1;
            index % 3 != 0
        });
        let again: Vec<Cells> = std::iter::repeat_with(|| pool.take()).take(640 - cells.len()).collect();
        assert_eq!(pool.free.lock().len(), free, "no page was made for them");
        assert!(again.iter().all(|cells| cells.place(0).sum() == 0));
        let places: std::collections::HashSet<_> =
            cells.iter().chain(&again).map(|cells| (page_of(cells), cells.0.slot)).collect();
        assert_eq!(places.len(), 640, "no two stats have the same cells");
    }

    #[test]
    fn cells_may_outlive_their_pool() {
        let pool = CellPool::new(1);
        let cells = pool.take();
        drop(pool);
        cells.place(0).add(1);
        assert_eq!(cells.place(0).sum(), 1);
    }
}
