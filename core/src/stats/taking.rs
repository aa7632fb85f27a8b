//! The numbers of a declaration, handed out in its order.

use std::sync::Arc;

use super::{
    Counter, Gauge, Scope,
    numbers::{Block, Declared, Number},
};

/// The numbers of a declaration, taken one after the other in its order.
#[doc(hidden)]
#[derive(Debug)]
pub struct Taking {
    block: Option<Arc<Block>>,
    scope: Scope,
    names: Declared,
    next: usize,
}

impl Taking {
    pub(super) fn new(block: Option<Arc<Block>>, scope: Scope, names: Declared) -> Self {
        Self { block, scope, names, next: 0 }
    }

    /// The next one, which is a counter.
    pub fn counter(&mut self) -> Counter {
        match self.number() {
            Ok(number) => Counter::new(Some(number)),
            Err(name) => self.scope.counter(name),
        }
    }

    /// The next one, which is a gauge.
    pub fn gauge(&mut self) -> Gauge {
        match self.number() {
            Ok(number) => Gauge::new(Some(number)),
            Err(name) => self.scope.gauge(name),
        }
    }

    /// The next one, which is no number. Where it stands.
    pub fn other(&mut self) -> &Scope {
        self.next += 1;
        &self.scope
    }

    fn number(&mut self) -> Result<Arc<Number>, &'static str> {
        let index = self.next;
        self.next += 1;
        match &self.block {
            Some(block) => Ok(Number::new(Arc::clone(block), index)),
            None => Err(self.names[index].1),
        }
    }
}
