//! The gRPC status of a response: <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>.

use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::with_optional("GRPC_STATUS", named),
    OperatorEntry::plain("GRPC_STATUS_NUMBER", |cx, out| print(cx, out, Form::Number)),
];

/// The names of the statuses from 0 on, in both spellings.
const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

#[derive(Clone, Copy)]
enum Form {
    Camel,
    Snake,
    Number,
}

fn named(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let form = match command.argument {
        "" | "CAMEL_STRING" => Form::Camel,
        "SNAKE_STRING" => Form::Snake,
        "NUMBER" => Form::Number,
        other => {
            return Err(format!(
                "GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: {other}"
            ));
        }
    };
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| print(cx, out, form)))
}

fn print(cx: &FormatContext<'_>, out: &mut Output<'_>, form: Form) {
    let Some(status) = status(cx) else { return };
    let name = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
    match (form, name) {
        (Form::Camel, Some((camel, _))) => out.text(camel),
        (Form::Snake, Some((_, snake))) => out.text(snake),
        (Form::Number, _) => out.number(status),
        (_, None) => out.display(status),
    }
}

/// The status in the trailers, or in the headers of a response without a body, or what the HTTP status stands for.
fn status(cx: &FormatContext<'_>) -> Option<u64> {
    let headers = cx.headers?;
    let content_type = headers.request("content-type")?;
    let is_grpc = content_type
        .strip_prefix("application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('+'));
    if !is_grpc {
        return None;
    }
    let sent = headers.response_trailer("grpc-status").or_else(|| headers.response("grpc-status"));
    match sent {
        Some(status) => status.parse().ok(),
        None => cx.info.response_code.get().map(of_http_status),
    }
}

/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
fn of_http_status(code: u16) -> u64 {
    match code {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}
