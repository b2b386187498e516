//! What bodies make their items of: numbers that are ready, or something to wait for.

use crate::consumers::Items;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// What a body asks for its next item.
pub(crate) trait Source: Send + 'static {
    fn item(&mut self) -> impl Future<Output = Option<u64>> + Send;
}

/// A source that is at work elsewhere.
pub(crate) trait Waiting: Source + Sized {
    fn start() -> impl Future<Output = Self> + Send;
}

/// Ready at once, without end.
#[derive(Default)]
pub(crate) struct Numbers(u64);

impl Source for Numbers {
    async fn item(&mut self) -> Option<u64> {
        self.0 += 1;
        Some(self.0)
    }
}

/// The items of another body, each one up.
pub(crate) struct Stage<I>(pub(crate) I);

impl<I: Items> Source for Stage<I> {
    async fn item(&mut self) -> Option<u64> {
        Some(self.0.take().await? + 1)
    }
}

/// Two of tokio's channels: a task at the other end answers each question when it was asked.
pub(crate) struct Channel {
    questions: UnboundedSender<u64>,
    answers: UnboundedReceiver<u64>,
}

impl Waiting for Channel {
    async fn start() -> Self {
        let (questions, mut asked) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(question) = asked.recv().await {
                if answer.send(question).is_err() {
                    break;
                }
            }
        });
        Self { questions, answers }
    }
}

impl Source for Channel {
    async fn item(&mut self) -> Option<u64> {
        self.questions.send(1).ok()?;
        self.answers.recv().await
    }
}

/// A connection on the loopback device: a task at the other end sends back each eight bytes.
pub(crate) struct Socket(TcpStream);

impl Waiting for Socket {
    async fn start() -> Self {
        Self::connect().await.expect("the loopback device is there")
    }
}

impl Socket {
    async fn connect() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
        let (here, mut there) = (here?, there?.0);
        here.set_nodelay(true)?;
        there.set_nodelay(true)?;
        tokio::spawn(async move {
            while let Ok(number) = there.read_u64().await {
                if there.write_u64(number).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self(here))
    }
}

impl Source for Socket {
    async fn item(&mut self) -> Option<u64> {
        self.0.write_u64(1).await.ok()?;
        self.0.read_u64().await.ok()
    }
}
