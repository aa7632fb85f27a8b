//! A macro for structs of stats.

/// Declares a struct of stats whose fields are named after the stats, with `new(&Scope)`.
///
/// ```
/// use underpass_core::stat_group;
/// use underpass_core::stats::Store;
///
/// stat_group! {
///     /// What this listener counts.
///     pub struct ListenerStats {
///         /// Connections accepted.
///         counter downstream_cx_total,
///         /// Connections open.
///         gauge downstream_cx_active,
///         /// How long connections lived.
///         histogram(Milliseconds) downstream_cx_length_ms,
///     }
/// }
///
/// let store = Store::new(1);
/// let stats = ListenerStats::new(&store.scope("listener.0.0.0.0_80"));
/// stats.downstream_cx_total.inc();
/// ```
#[macro_export]
macro_rules! stat_group {
    (
        $(#[$meta:meta])* $visibility:vis struct $name:ident {
            $( $(#[$doc:meta])* $kind:ident $(($unit:ident))? $field:ident ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $visibility struct $name {
            $( $(#[$doc])* pub $field: $crate::stat_group!(@type $kind), )+
        }

        impl $name {
            /// The stats below `scope`, made where they do not exist yet.
            $visibility fn new(scope: &$crate::stats::Scope) -> Self {
                static DECLARED: &[($crate::stats::NumberKind, &str)] =
                    &[$( ($crate::stat_group!(@kind $kind), stringify!($field)), )+];
                let mut stats = scope.declared(DECLARED);
                // Fields are made in the order in which they are written.
                Self { $( $field: $crate::stat_group!(@new stats $kind $(($unit))? $field), )+ }
            }
        }
    };
    (@type counter) => { $crate::stats::Counter };
    (@type gauge) => { $crate::stats::Gauge };
    (@type histogram) => { $crate::stats::Histogram };
    (@type text_readout) => { $crate::stats::TextReadout };
    (@kind counter) => { $crate::stats::NumberKind::Counter };
    (@kind gauge) => { $crate::stats::NumberKind::Gauge };
    (@kind histogram) => { $crate::stats::NumberKind::None };
    (@kind text_readout) => { $crate::stats::NumberKind::None };
    (@new $stats:ident counter $field:ident) => { $stats.counter() };
    (@new $stats:ident gauge $field:ident) => { $stats.gauge() };
    (@new $stats:ident histogram($unit:ident) $field:ident) => {
        $stats.other().histogram(stringify!($field), $crate::stats::Unit::$unit)
    };
    (@new $stats:ident text_readout $field:ident) => { $stats.other().text_readout(stringify!($field)) };
}
