mod guest;
mod hostile;
mod locking;
mod operations;
mod sharing;
