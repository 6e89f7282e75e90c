// Serves HTTP to itself, as many requests as its argument says, 8 at once.
const http = require("http");

const server = http.createServer((request, response) => response.end(request.url));

function client(agent, port, left) {
    return new Promise((done, failed) => {
        const next = () => {
            if (left-- === 0) return done();
            http.get({ agent, port, path: `/${left}` }, (response) => response.on("end", next).resume()).on("error", failed);
        };
        next();
    });
}

server.listen(0, "127.0.0.1", async () => {
    const agent = new http.Agent({ keepAlive: true });
    const { port } = server.address();
    await Promise.all(Array.from({ length: 8 }, () => client(agent, port, Number(process.argv[2]) / 8)));
    server.close();
    server.closeAllConnections();
    agent.destroy();
});
