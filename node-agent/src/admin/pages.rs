//! `/healthz`, `/readyz`, `/metrics`, on loopback; and the console, where there is one.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use tokio::net::TcpListener;

use super::serve::{Rooms, serve};
use super::{Admin, Console};

/// Connections at once.
const ROOMS: usize = 256;

/// Serves until the task is dropped.
pub async fn serve_pages(admin: Arc<Admin>, console: Option<Arc<Console>>, listener: TcpListener) {
    let console = match console {
        Some(console) => console.router(),
        None => Router::new()
            .route("/console", any(no_console))
            .route("/console/{*page}", any(no_console)),
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin)
        .merge(console);
    let rooms = Rooms::of(ROOMS);
    serve(listener, router, |_| ((), rooms.clone())).await;
}

async fn no_console() -> impl IntoResponse {
    let why = "There is no console: the agent's configuration has no approvals.console.\n";
    (StatusCode::NOT_FOUND, why)
}

async fn ready(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let reasons = admin.status().await.not_ready;
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {}\n", reasons.join("; ")),
        )
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, kind)],
        admin.metrics.encode(admin.scraped().await),
    )
}
