//! Certificates on both sides: channel binding, certificates of clients, TLS from the first byte, reload.

use crate::secure::{fails, psql, succeeds};
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::{TempDir, eventually};
use crate::support::wire::PATIENCE;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An authority that signs certificates of servers and clients.
struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new("authority");
        std::fs::write(folder.path().join("ca.pem"), issuer.as_ref().pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Certificate and key, as files.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let (cert, file) = (self.folder.path().join(format!("{name}.pem")), self.folder.path().join(format!("{name}.key")));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&file, key.serialize_pem()).unwrap();
        // libpq refuses keys that others may read.
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        (cert, file)
    }
}

fn config(files: &(PathBuf, PathBuf), method: &str) -> (Config, String) {
    let postgres = Postgres::shared();
    let database = postgres.database("tls");
    let url = format!("postgres://scram_app:secret@127.0.0.1:{}/{database}", postgres.port());
    let config = Config::new(postgres, &database)
        .pool(2)
        .text("upstream", "url", &url)
        .text("auth", "method", method)
        .text("listen", "tls", "prefer")
        .text("listen", "tls_cert", &files.0.to_string_lossy())
        .text("listen", "tls_key", &files.1.to_string_lossy());
    (config, database)
}

fn certificate_of(files: &(PathBuf, PathBuf)) -> String {
    format!("sslmode=require sslcert={} sslkey={}", files.0.display(), files.1.display())
}

#[test]
fn channel_binding_towards_clients() {
    let authority = Authority::new("authority");
    let (config, database) = config(&authority.sign("localhost"), "scram-sha-256");
    let pgdial = Pgdial::start(&config);
    for options in ["sslmode=require channel_binding=require", "sslmode=require channel_binding=disable", "sslmode=disable"] {
        succeeds(&psql(&pgdial, "scram_app", "secret", &database, options), "scram_app");
        fails(&psql(&pgdial, "scram_app", "wrong", &database, options), "password authentication failed");
    }
    fails(&psql(&pgdial, "scram_app", "secret", &database, "sslmode=disable channel_binding=require"), "channel binding");
}

#[test]
fn channel_binding_towards_postgres() {
    let authority = Authority::new("authority");
    let (cert, key) = authority.sign("localhost");
    let postgres = Postgres::start();
    let database = postgres.database("tls");
    postgres.enable_tls(&cert, &key);
    let config = |user: &str, binding: &str| {
        let port = postgres.port();
        let url = format!("postgres://{user}:secret@localhost:{port}/{database}?sslmode=require&channel_binding={binding}");
        Config::new(&postgres, &database).pool(2).text("upstream", "url", &url)
    };
    for binding in ["require", "prefer", "disable"] {
        let pgdial = Pgdial::start(&config("tls_app", binding));
        succeeds(&psql(&pgdial, "tls_app", "", &database, ""), "tls_app");
    }
    let cached = Pgdial::start(&config("tls_app", "require").cached());
    succeeds(&psql(&cached, "tls_app", "", &database, ""), "tls_app");
    let control = "select count(*) from pg_stat_activity where application_name = 'pgdial catalog'";
    eventually("the control connection binds too", PATIENCE, || postgres.sql("postgres", control)[0][0].as_deref() == Some("1"));
    for user in ["md5_app", "plain_app", "app"] {
        let pgdial = launch(&config(user, "require"));
        fails(&psql(&pgdial, user, "", &database, ""), "channel_binding=require");
    }
}

/// For upstreams that refuse: such a pgdial is never ready.
fn launch(config: &Config) -> Pgdial {
    let pgdial = Pgdial::launch(config);
    eventually("pgdial listens", PATIENCE, || std::net::TcpStream::connect(pgdial.addr()).is_ok());
    pgdial
}

#[test]
fn certificates_of_clients() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (config, database) = config(&ours.sign("localhost"), "scram-sha-256");
    let config = config.text("listen", "tls_client_ca", &ours.file().to_string_lossy());
    let (good, wrong, foreign) = (ours.sign("scram_app"), ours.sign("somebody"), other.sign("scram_app"));

    let by_certificate = Pgdial::start(&config.clone().text("auth", "method", "cert"));
    succeeds(&psql(&by_certificate, "scram_app", "", &database, &certificate_of(&good)), "scram_app");
    let refused = "certificate authentication failed for user \"scram_app\"";
    fails(&psql(&by_certificate, "scram_app", "", &database, &certificate_of(&wrong)), refused);
    fails(&psql(&by_certificate, "scram_app", "", &database, &certificate_of(&foreign)), "");
    for options in ["sslmode=require sslcert=none", "sslmode=disable"] {
        fails(&psql(&by_certificate, "scram_app", "secret", &database, options), "requires a valid client certificate");
    }
    fails(&psql(&by_certificate, "somebody", "", &database, &certificate_of(&wrong)), "role \"somebody\" does not exist");
    eventually("the log says which name it was", PATIENCE, || by_certificate.log().contains("common name is \\\"somebody\\\""));

    let demanded = Pgdial::start(&config.clone().text("listen", "tls", "verify-ca"));
    succeeds(&psql(&demanded, "scram_app", "secret", &database, &certificate_of(&wrong)), "scram_app");
    fails(&psql(&demanded, "scram_app", "secret", &database, "sslmode=require sslcert=none"), "valid client certificate");
    fails(&psql(&demanded, "scram_app", "secret", &database, &certificate_of(&foreign)), "");
    fails(&psql(&demanded, "scram_app", "secret", &database, "sslmode=disable"), "encrypted");

    let optional = Pgdial::start(&config);
    succeeds(&psql(&optional, "scram_app", "secret", &database, "sslmode=require sslcert=none"), "scram_app");
    fails(&psql(&optional, "scram_app", "secret", &database, &certificate_of(&foreign)), "");
}

fn client_config(ca: &Path, protocol: Option<&[u8]>) -> tokio_rustls::rustls::ClientConfig {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = tokio_rustls::rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
    config
}

#[tokio::test]
async fn tls_from_the_first_byte() {
    let authority = Authority::new("authority");
    let (config, database) = config(&authority.sign("localhost"), "scram-sha-256");
    let pgdial = Pgdial::start(&config.text("listen", "tls", "require"));
    for (protocol, enters) in [(Some(&b"postgresql"[..]), true), (None, false), (Some(b"h2"), false)] {
        let mut login = tokio_postgres::Config::new();
        login.host("localhost").hostaddr("127.0.0.1".parse().unwrap()).port(pgdial.port());
        login.user("scram_app").password("secret").dbname(&database);
        login.ssl_mode(tokio_postgres::config::SslMode::Require);
        login.ssl_negotiation(tokio_postgres::config::SslNegotiation::Direct);
        login.channel_binding(tokio_postgres::config::ChannelBinding::Require);
        let tls = pgdial::catalog::MakeRustls::new(std::sync::Arc::new(client_config(&authority.file(), protocol)));
        match login.connect(tls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                assert!(enters, "{protocol:?}");
                assert_eq!(client.query_one("select current_user::text", &[]).await.unwrap().get::<_, String>(0), "scram_app");
            }
            Err(error) => assert!(!enters, "{protocol:?}: {error}"),
        }
    }
}

#[test]
fn certificates_are_read_again_at_a_reload() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = old.sign("localhost");
    let (config, database) = config(&files, "scram-sha-256");
    let config = config.text("listen", "tls_client_ca", &old.file().to_string_lossy());
    let pgdial = Pgdial::start(&config);
    let by = |authority: &Authority| {
        let options = format!(
            "host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslcert=none sslrootcert={}",
            authority.file().display()
        );
        psql(&pgdial, "scram_app", "secret", &database, &options)
    };
    succeeds(&by(&old), "scram_app");
    // A session of before keeps its certificate, and its life.
    let target = format!("host=127.0.0.1 port={} user=scram_app dbname={database} sslmode=require", pgdial.port());
    let mut session = Command::new(Postgres::shared().bin("psql"))
        .args(["-XAtq", "-d", &target])
        .env("PGPASSWORD", "secret")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the session is there", PATIENCE, || pgdial.stat("pool.clients") == 1);

    std::fs::write(&files.0, "no certificate").unwrap();
    let (status, text) = pgdial.http("POST", "/reload", "").unwrap();
    assert!(status >= 400 && text.contains("localhost.pem"), "{status} {text}");
    succeeds(&by(&old), "scram_app");
    let (cert, key) = new.sign("localhost");
    std::fs::copy(&cert, &files.0).unwrap();
    let (status, text) = pgdial.http("POST", "/reload", "").unwrap();
    assert!(status >= 400, "a certificate with another's key: {status} {text}");
    succeeds(&by(&old), "scram_app");

    std::fs::copy(&key, &files.1).unwrap();
    std::fs::copy(new.file(), old.file()).unwrap();
    pgdial.reload(&config);
    eventually("the new certificate is shown", PATIENCE, || by(&new).status.success());
    let (status, text) = pgdial.http("POST", "/reload", "").unwrap();
    assert_eq!(status, 200, "{text}");
    std::io::Write::write_all(session.stdin.as_mut().unwrap(), b"select 'still here';\n").unwrap();
    let output = session.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "still here");
}
