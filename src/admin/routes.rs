//! Floor 3. Paths, methods, answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Purge, Source, guard, prometheus};

const MAX_BODY: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The page brings all it needs and may talk to nobody but us.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

type Answer = Response<Full<Bytes>>;

pub(super) struct Context {
    pub(super) source: Arc<dyn Source>,
    pub(super) token: Option<String>,
}

#[derive(Clone, Copy)]
enum Route {
    Dashboard,
    Stats,
    Metrics,
    Health,
    Ready,
    Purge,
    Reload,
}

impl Route {
    fn find(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Dashboard,
            "/stats" => Self::Stats,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/cache/purge" => Self::Purge,
            "/reload" => Self::Reload,
            _ => return None,
        })
    }

    fn changes(self) -> bool {
        matches!(self, Self::Purge | Self::Reload)
    }

    fn allow(self) -> &'static str {
        if self.changes() { "POST" } else { "GET, HEAD" }
    }

    fn takes(self, method: &Method) -> bool {
        if self.changes() { method == Method::POST } else { method == Method::GET || method == Method::HEAD }
    }
}

pub(super) async fn answer(request: Request<Incoming>, peer: SocketAddr, context: &Context) -> Answer {
    let Some(route) = Route::find(request.uri().path()) else {
        return fault(StatusCode::NOT_FOUND, "no such path");
    };
    if !route.takes(request.method()) {
        let answer = fault(StatusCode::METHOD_NOT_ALLOWED, "wrong method");
        return with(answer, ALLOW, HeaderValue::from_static(route.allow()));
    }
    if let Err((status, why)) = guard(route, &request, peer, context) {
        let answer = fault(status, why);
        return match status {
            StatusCode::UNAUTHORIZED => with(answer, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            _ => answer,
        };
    }
    let source = Arc::clone(&context.source);
    match route {
        Route::Dashboard => with(reply(StatusCode::OK, HTML, include_str!("dashboard.html")), CONTENT_SECURITY_POLICY, POLICY),
        Route::Stats => blocking(move || stats(&*source)).await,
        Route::Metrics => blocking(move || metrics(&*source)).await,
        Route::Health => reply(StatusCode::OK, TEXT, "ok\n"),
        Route::Ready => blocking(move || ready(&*source)).await,
        Route::Purge => match purge_body(request.into_body()).await {
            Ok(what) => blocking(move || purge(&*source, what)).await,
            Err((status, why)) => fault(status, &why),
        },
        Route::Reload => blocking(move || reload(&*source)).await,
    }
}

fn guard(route: Route, request: &Request<Incoming>, peer: SocketAddr, context: &Context) -> Result<(), guard::Refusal> {
    match route {
        // Probes come under any name and learn nothing.
        Route::Health | Route::Ready => Ok(()),
        Route::Dashboard | Route::Stats | Route::Metrics => guard::may_read(request.headers(), peer),
        Route::Purge | Route::Reload => guard::may_change(request.headers(), peer, context.token.as_deref()),
    }
}

/// Off the data path's workers: taking and rendering the figures is a millisecond or two, a reload reads files.
async fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "stats endpoint: no answer");
        fault(StatusCode::INTERNAL_SERVER_ERROR, "see the log")
    })
}

fn stats(source: &dyn Source) -> Answer {
    match serde_json::to_string(&source.stats()) {
        Ok(body) => reply(StatusCode::OK, JSON, body),
        Err(error) => fault(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn metrics(source: &dyn Source) -> Answer {
    reply(StatusCode::OK, prometheus::CONTENT_TYPE, prometheus::render(&source.stats()))
}

fn ready(source: &dyn Source) -> Answer {
    match source.ready() {
        Ok(()) => reply(StatusCode::OK, TEXT, "ready\n"),
        Err(why) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
    }
}

fn purge(source: &dyn Source, what: Purge) -> Answer {
    tracing::info!(?what, "purge asked for");
    match source.purge(what) {
        Ok(purged) => json(StatusCode::OK, &serde_json::json!({ "purged": purged })),
        Err(why) => fault(StatusCode::UNPROCESSABLE_ENTITY, &why),
    }
}

fn reload(source: &dyn Source) -> Answer {
    match source.reload() {
        Ok(changed) => json(StatusCode::OK, &serde_json::json!({ "changed": changed })),
        Err(why) => fault(StatusCode::UNPROCESSABLE_ENTITY, &why),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeBody {
    table: Option<String>,
    tag: Option<String>,
    all: Option<bool>,
}

async fn purge_body(body: Incoming) -> Result<Purge, (StatusCode, String)> {
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let body = match collected {
        Err(_) => {
            return Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned()));
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("at most {MAX_BODY} bytes")));
        }
        Ok(Err(error)) => return Err((StatusCode::BAD_REQUEST, error.to_string())),
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    let body: PurgeBody = serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    match (body.table, body.tag, body.all) {
        (Some(table), None, None) if !table.is_empty() => Ok(Purge::Table(table)),
        (None, Some(tag), None) if !tag.is_empty() => Ok(Purge::Tag(tag)),
        (None, None, Some(true)) => Ok(Purge::All),
        _ => Err((StatusCode::BAD_REQUEST, r#"one of {"table":…}, {"tag":…}, {"all":true}"#.to_owned())),
    }
}

fn fault(status: StatusCode, why: &str) -> Answer {
    json(status, &serde_json::json!({ "error": why }))
}

fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    reply(status, JSON, format!("{value}\n"))
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}
