//! What a wrapper of an [`Io`](super::Io) writes instead of a method for each ability that it has from below.

/// Forwards the methods of [`Io`](crate::io::Io) to the stream below, all but those that are named. It stands in an
/// `impl Io for …` block.
///
/// A method that is named and not written there either is refused, as the trait's default says. `Box<dyn Io>` is made
/// with this list as well: a new ability of `Io` that were not in it would reach nobody.
///
/// ```
/// # use std::{io, pin::Pin, task::{Context, Poll}};
/// # use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
/// use underpass_core::{forward_io, forward_writes};
/// use underpass_core::io::{BoxIo, Io};
///
/// /// Carries something along and cannot be taken off.
/// struct Tagged<T> {
///     inner: BoxIo,
///     tag: T,
/// }
///
/// # impl<T: Unpin> AsyncRead for Tagged<T> {
/// #     fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
/// #         Pin::new(&mut self.inner).poll_read(cx, buf)
/// #     }
/// # }
/// impl<T: Unpin> AsyncWrite for Tagged<T> {
///     forward_writes!(self => self.inner);
/// }
/// impl<T: Unpin + 'static> Io for Tagged<T> {
///     forward_io!(self => self.inner; except user_space_socket);
/// }
/// ```
#[macro_export]
macro_rules! forward_io {
    ($self:ident => $inner:expr $(; except $($except:ident),+)?) => {
        $crate::forward_io! { @each [$($($except)+)?] $self, $inner;
            poll_peek(
                &mut; cx: &mut ::std::task::Context<'_>, buf: &mut $crate::__private::ReadBuf<'_>
            ) -> ::std::task::Poll<::std::io::Result<()>>;
            lends_bytes(&;) -> bool;
            poll_read_bytes(
                &mut; cx: &mut ::std::task::Context<'_>, max: usize
            ) -> ::std::task::Poll<::std::io::Result<$crate::__private::Bytes>>;
            takes_bytes(&;) -> bool;
            poll_write_bytes(
                &mut; cx: &mut ::std::task::Context<'_>, bytes: &mut $crate::__private::Bytes
            ) -> ::std::task::Poll<::std::io::Result<usize>>;
            splices(&;) -> bool;
            poll_splice_in(
                &mut; cx: &mut ::std::task::Context<'_>, pipe: ::std::os::fd::BorrowedFd<'_>, max: usize
            ) -> ::std::task::Poll<::std::io::Result<usize>>;
            poll_splice_out(
                &mut; cx: &mut ::std::task::Context<'_>, pipe: ::std::os::fd::BorrowedFd<'_>, len: usize
            ) -> ::std::task::Poll<::std::io::Result<usize>>;
            poll_peer_gone(&mut; cx: &mut ::std::task::Context<'_>) -> ::std::task::Poll<()>;
            poll_aborted(&mut; cx: &mut ::std::task::Context<'_>) -> ::std::task::Poll<()>;
            kernel_socket(&;) -> ::std::option::Option<$crate::io::KernelSocket<'_>>;
            user_space_socket(
                &mut;
            ) -> ::std::option::Option<&mut $crate::user_space_socket::UserSpaceSocket>;
            refusal_note(&;) -> ::std::option::Option<$crate::user_space_socket::RefusalNote>;
            reset(&mut;) -> ();
        }
    };

    (@each $except:tt $self:ident, $inner:expr; $($method:ident($($signature:tt)*) -> $result:ty;)*) => {
        $($crate::forward_io! { @unless $except $method($($signature)*) -> $result, $self, $inner })*
    };

    // A name that is excepted, once it is at the head of what is left of the list.
    (@unless [poll_peek $($rest:ident)*] poll_peek $($method:tt)*) => {};
    (@unless [lends_bytes $($rest:ident)*] lends_bytes $($method:tt)*) => {};
    (@unless [poll_read_bytes $($rest:ident)*] poll_read_bytes $($method:tt)*) => {};
    (@unless [takes_bytes $($rest:ident)*] takes_bytes $($method:tt)*) => {};
    (@unless [poll_write_bytes $($rest:ident)*] poll_write_bytes $($method:tt)*) => {};
    (@unless [splices $($rest:ident)*] splices $($method:tt)*) => {};
    (@unless [poll_splice_in $($rest:ident)*] poll_splice_in $($method:tt)*) => {};
    (@unless [poll_splice_out $($rest:ident)*] poll_splice_out $($method:tt)*) => {};
    (@unless [poll_peer_gone $($rest:ident)*] poll_peer_gone $($method:tt)*) => {};
    (@unless [poll_aborted $($rest:ident)*] poll_aborted $($method:tt)*) => {};
    (@unless [kernel_socket $($rest:ident)*] kernel_socket $($method:tt)*) => {};
    (@unless [user_space_socket $($rest:ident)*] user_space_socket $($method:tt)*) => {};
    (@unless [refusal_note $($rest:ident)*] refusal_note $($method:tt)*) => {};
    (@unless [reset $($rest:ident)*] reset $($method:tt)*) => {};

    (@unless [$other:ident $($rest:ident)*] $($method:tt)*) => {
        $crate::forward_io! { @unless [$($rest)*] $($method)* }
    };
    (@unless [] $method:ident(&mut; $($argument:ident: $type:ty),*) -> $result:ty, $self:ident, $inner:expr) => {
        fn $method(&mut $self $(, $argument: $type)*) -> $result {
            $crate::io::Io::$method(&mut $inner $(, $argument)*)
        }
    };
    (@unless [] $method:ident(&; $($argument:ident: $type:ty),*) -> $result:ty, $self:ident, $inner:expr) => {
        fn $method(&$self $(, $argument: $type)*) -> $result {
            $crate::io::Io::$method(&$inner $(, $argument)*)
        }
    };
}

/// Forwards all methods of [`AsyncWrite`](tokio::io::AsyncWrite) to the stream below, vectors included: who writes them by hand and
/// forgets those halves throughput and fails nothing. It stands in an `impl AsyncWrite for …` block of a type that is `Unpin`; for an
/// example see [`forward_io`](crate::forward_io).
#[macro_export]
macro_rules! forward_writes {
    ($self:ident => $inner:expr) => {
        fn poll_write(
            mut $self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            buf: &[u8],
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            $crate::__private::AsyncWrite::poll_write(::std::pin::Pin::new(&mut $inner), cx, buf)
        }

        fn poll_write_vectored(
            mut $self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            bufs: &[::std::io::IoSlice<'_>],
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            $crate::__private::AsyncWrite::poll_write_vectored(::std::pin::Pin::new(&mut $inner), cx, bufs)
        }

        fn is_write_vectored(&$self) -> bool {
            $crate::__private::AsyncWrite::is_write_vectored(&$inner)
        }

        fn poll_flush(
            mut $self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
        ) -> ::std::task::Poll<::std::io::Result<()>> {
            $crate::__private::AsyncWrite::poll_flush(::std::pin::Pin::new(&mut $inner), cx)
        }

        fn poll_shutdown(
            mut $self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
        ) -> ::std::task::Poll<::std::io::Result<()>> {
            $crate::__private::AsyncWrite::poll_shutdown(::std::pin::Pin::new(&mut $inner), cx)
        }
    };
}
