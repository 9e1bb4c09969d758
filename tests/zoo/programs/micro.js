module.exports = (q) => `${process.pid} ${q.url}`;
