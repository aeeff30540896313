//! Floor 3. TLS on both sides. The crypto provider is always named: a process-wide default could be anybody's.

use super::Stream;
use super::verify::{Authorities, NoCheck};
use crate::auth::end_point;
use crate::config::TlsMode;
use crate::error::{Error, Kind, Result};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What clients that ask for TLS get.
#[derive(Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    /// What SCRAM binds to; None if our certificate has no such hash.
    pub end_point: Option<Box<[u8]>>,
}

/// For clients, from PEM files. To reload, build a new one; sessions keep the one they began with.
/// With `client_ca` a client may show a certificate, and one that it shows must be of that authority.
pub fn server_config(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Arc<Acceptor>> {
    let chain = certificates(cert)?;
    let end_point = chain.first().and_then(|own| end_point(own));
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::new(Kind::Internal, "TLS versions").with_source(error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?.0), provider());
            // Who must have one is decided at login, where it can be said in words.
            let verifier = verifier.allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(ca, error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key_der).map_err(|error| unusable(cert, error))?;
    // Postgres resumes no sessions either, and ten thousand idle clients need not keep tickets.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(Acceptor { config: Arc::new(config), end_point }))
}

impl Acceptor {
    /// Shakes hands with a client that asked for TLS.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = Box::pin(TlsAcceptor::from(Arc::clone(&self.config)).accept(stream)).await?;
        Ok(Stream::ServerTls(Box::new(stream)))
    }

    /// With a client that speaks TLS from its first byte. It must say that it means Postgres: otherwise a browser could be
    /// led to us, and its request be taken for something else.
    pub async fn accept_direct(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = Box::pin(TlsAcceptor::from(Arc::clone(&self.config)).accept(stream)).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::other("direct TLS without the ALPN protocol \"postgresql\""));
        }
        Ok(Stream::ServerTls(Box::new(stream)))
    }
}

/// Does the connection begin with a TLS handshake? Takes nothing away. False at the end of the stream.
pub async fn is_direct(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first == [HANDSHAKE])
}

/// The first byte of a TLS connection; no length of a startup packet begins with it.
const HANDSHAKE: u8 = 0x16;
/// As Postgres 17.
const ALPN: &[u8] = b"postgresql";

/// What `sslmode` asks of connections to one Postgres. Built once per upstream: the authorities are kept once.
#[derive(Clone, Debug)]
pub struct Connector {
    mode: TlsMode,
    config: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// As libpq: an authority that is given is always checked against, even where the mode would not ask for it.
    /// Without one, verify-ca and verify-full use the public authorities.
    pub fn new(mode: TlsMode, ca: Option<&Path>) -> Result<Self> {
        if mode == TlsMode::Disable {
            return Ok(Self { mode, config: None });
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Error::new(Kind::Internal, "TLS versions").with_source(error))?;
        let builder = builder.dangerous();
        let checked = matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyFull);
        let builder = if ca.is_none() && !checked {
            builder.with_custom_certificate_verifier(Arc::new(NoCheck::new(&provider())))
        } else {
            let (roots, own) = ca.map_or_else(|| Ok((public_roots(), Vec::new())), roots)?;
            let names = mode == TlsMode::VerifyFull;
            builder.with_custom_certificate_verifier(Arc::new(Authorities::new(roots, own, names, &provider())))
        };
        Ok(Self { mode, config: Some(Arc::new(builder.with_no_client_auth())) })
    }

    /// The mode it was built for.
    pub fn mode(&self) -> TlsMode {
        self.mode
    }

    /// For connections that other crates make; `None` = without TLS.
    pub fn config(&self) -> Option<Arc<ClientConfig>> {
        self.config.clone()
    }

    /// Shakes hands with a server that agreed to TLS.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let config = self.config.clone().ok_or_else(|| io::Error::other("TLS is disabled"))?;
        let name = ServerName::try_from(host.to_owned()).or_else(|error| {
            // Without a check of names any will do; an address is not sent as SNI.
            let nobody = ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
            if self.mode == TlsMode::VerifyFull { Err(io::Error::other(error)) } else { Ok(nobody) }
        })?;
        let stream = Box::pin(TlsConnector::from(config).connect(name, stream)).await?;
        Ok(Stream::ClientTls(Box::new(stream)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn public_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// The authorities of a PEM file, ready for use and as they stand there.
fn roots(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let all = certificates(path)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(all.iter().cloned());
    Ok((roots, all))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let all = all.map_err(|error| unusable(path, error))?;
    if all.is_empty() {
        return Err(Error::new(Kind::Config, format!("{} holds no certificate", path.display())));
    }
    Ok(all)
}

fn unusable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Config, format!("{} cannot be used for TLS", path.display())).with_source(error)
}
