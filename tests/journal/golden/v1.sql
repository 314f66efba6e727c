-- A journal of schema version 1, with every kind of event; never to be changed (docs/journal.md, "Versions").
PRAGMA application_id = 1146309448;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE blob_uses (
            session TEXT NOT NULL,
            digest TEXT NOT NULL REFERENCES blobs,
            PRIMARY KEY (session, digest)
        ) WITHOUT ROWID;
INSERT INTO "blob_uses" VALUES('20261122-101500-0a1b2c','37af8986d9293ec77d99bc10fc92e387300b53e569b658e3995de16608f7e9e4');
INSERT INTO "blob_uses" VALUES('20261122-101500-0a1b2c','c2153f77e11087fcb078ae38527fa83bef29791e3700e30cc87fec4405a66d0f');
CREATE TABLE blobs (digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, data BLOB NOT NULL);
INSERT INTO "blobs" VALUES('c2153f77e11087fcb078ae38527fa83bef29791e3700e30cc87fec4405a66d0f','image/png',X'89504E470D0A1A0A0000000D49484452000000010000000108060000001F15C4890000000D49444154789C6360606060000000050001A5F645400000000049454E44AE426082');
INSERT INTO "blobs" VALUES('37af8986d9293ec77d99bc10fc92e387300b53e569b658e3995de16608f7e9e4','application/octet-stream',X'6465662068616C66286E293A0D0A2020202072657475726E206E202F20330D0A');
CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            session TEXT NOT NULL,
            at REAL NOT NULL,
            type TEXT NOT NULL,
            data TEXT NOT NULL
        );
INSERT INTO "events" VALUES(1,'20261122-101500-0a1b2c',1795342501.0,'session.created','{"type":"session.created","cwd":"/home/ada/halves","mode":"auto","began":"2026-11-22","model":"small-1"}');
INSERT INTO "events" VALUES(2,'20261122-101500-0a1b2c',1795342502.0,'session.changed','{"type":"session.changed","cwd":"/home/ada/moved halves","mode":"ask","model":"large-1","title":"Halves — naïve"}');
INSERT INTO "events" VALUES(3,'20261122-101500-0a1b2c',1795342503.0,'turn.started','{"type":"turn.started","turn":1,"prompt":[{"type":"text","text":"half(4) is 1.33…\nmend it"},{"type":"image","media_type":"image/png","blob":"c2153f77e11087fcb078ae38527fa83bef29791e3700e30cc87fec4405a66d0f"}],"cwd":"/home/ada/moved halves","mode":"ask","model":"large-1","endpoint":"http://127.0.0.1:8080"}');
INSERT INTO "events" VALUES(4,'20261122-101500-0a1b2c',1795342504.0,'request.retried','{"type":"request.retried","turn":1,"attempt":1,"failure":{"kind":"overloaded","message":"The endpoint is overloaded."},"wait":0.5}');
INSERT INTO "events" VALUES(5,'20261122-101500-0a1b2c',1795342505.0,'message.received','{"type":"message.received","turn":1,"model":"large-1","content":[{"type":"thinking","thinking":"3 is wrong","signature":"c2ln"},{"type":"redacted_thinking","data":"b3BhcXVl"},{"type":"text","text":"I see it."},{"type":"tool_use","id":"toolu_1","name":"edit","input":{"path":"half.py","old":"/ 3","new":"/ 2","deep":[{"n":1.5,"b":null,"t":true}]},"malformed":null},{"type":"tool_use","id":"toolu_2","name":"bash","input":{},"malformed":"{\"command\": \"pytest"}],"stop_reason":"tool_use","usage":{"input_tokens":1200,"output_tokens":80,"cache_creation_input_tokens":1000,"cache_read_input_tokens":150},"seconds":2.25}');
INSERT INTO "events" VALUES(6,'20261122-101500-0a1b2c',1795342506.0,'call.started','{"type":"call.started","turn":1,"call":"toolu_1","tool":"edit","arguments":{"path":"half.py","old":"/ 3","new":"/ 2","deep":[{"n":1.5,"b":null,"t":true}]},"klass":"write","reason":"allowed by the mode"}');
INSERT INTO "events" VALUES(7,'20261122-101500-0a1b2c',1795342507.0,'call.finished','{"type":"call.finished","turn":1,"call":"toolu_1","tool":"edit","outcome":"ok","content":[{"type":"text","text":"Changed 1 line."}],"seconds":0.01,"quiet":0.0,"size":15,"seen":[{"path":"/home/ada/moved halves/half.py","digest":"b8bcb8c8023e5f5593be7a3eba77b7ac74e79ef5c662bd7d3d113acb2dab3603"}],"changes":[{"path":"/home/ada/moved halves/half.py","before":"37af8986d9293ec77d99bc10fc92e387300b53e569b658e3995de16608f7e9e4","after":"b8bcb8c8023e5f5593be7a3eba77b7ac74e79ef5c662bd7d3d113acb2dab3603","hunks":[{"line":2,"old":"    return n / 3","new":"    return n / 2"}]}],"locations":[{"path":"/home/ada/moved halves/half.py","line":2}]}');
INSERT INTO "events" VALUES(8,'20261122-101500-0a1b2c',1795342508.0,'call.finished','{"type":"call.finished","turn":1,"call":"toolu_2","tool":"bash","outcome":"invalid","content":[{"type":"text","text":"The arguments are not JSON."}]}');
INSERT INTO "events" VALUES(9,'20261122-101500-0a1b2c',1795342509.0,'plan.changed','{"type":"plan.changed","turn":1,"entries":[{"content":"mend half","status":"completed","priority":"high"},{"content":"run the tests","status":"in_progress","priority":"medium"},{"content":"tell Ada","status":"pending","priority":"medium"}]}');
INSERT INTO "events" VALUES(10,'20261122-101500-0a1b2c',1795342510.0,'call.started','{"type":"call.started","turn":1,"call":"toolu_3","tool":"bash","arguments":{"command":"pytest -q"},"klass":"write"}');
INSERT INTO "events" VALUES(11,'20261122-101500-0a1b2c',1795342511.0,'call.spawned','{"type":"call.spawned","turn":1,"call":"toolu_3","pid":4242,"started":"873421"}');
INSERT INTO "events" VALUES(12,'20261122-101500-0a1b2c',1795342512.0,'call.finished','{"type":"call.finished","turn":1,"call":"toolu_3","tool":"bash","outcome":"expired","content":[{"type":"text","text":"1 passed\u0000 \u001b[32m日本"},{"type":"image","media_type":"image/png","blob":"c2153f77e11087fcb078ae38527fa83bef29791e3700e30cc87fec4405a66d0f"}],"seconds":300.5,"quiet":300.0,"size":50000000,"output":"/home/ada/.deskhand/outputs/x/toolu_3.txt","outside":true}');
INSERT INTO "events" VALUES(13,'20261122-101500-0a1b2c',1795342513.0,'message.received','{"type":"message.received","turn":1,"model":"large-1","content":[{"type":"text","text":"Done."}],"stop_reason":"end_turn"}');
INSERT INTO "events" VALUES(14,'20261122-101500-0a1b2c',1795342514.0,'turn.ended','{"type":"turn.ended","turn":1,"stop_reason":"failed","usage":{"input_tokens":2400,"output_tokens":160,"cache_creation_input_tokens":0,"cache_read_input_tokens":0},"requests":2,"error":{"kind":"dropped","message":"The connection was dropped."}}');
INSERT INTO "events" VALUES(15,'20261122-110000-ffffff',1795342515.0,'session.created','{"type":"session.created","cwd":"/","mode":"plan","began":"2026-11-22"}');
CREATE INDEX events_of_session ON events (session, seq);
CREATE INDEX landmarks ON events (session, seq)
            WHERE type IN ('session.created', 'session.changed', 'turn.started', 'turn.ended');
CREATE INDEX users_of_blob ON blob_uses (digest);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',15);
COMMIT;
