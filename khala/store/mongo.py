"""The store on MongoDB, put together.

client = connect(MongoSettings(hosts=("127.0.0.1:3000",)))
store = MongoStore(database_of(client))
await ensure_schema(store.database)
async with asyncio.TaskGroup() as group:
    group.create_task(store.committer.run())
"""

from __future__ import annotations

from khala.store.access_tokens import MongoAccessTokens
from khala.store.api import DispatchStore
from khala.store.audit import MongoAudit
from khala.store.blobs import MongoBlobs
from khala.store.cluster_settings import MongoClusterSettings
from khala.store.codec import Database
from khala.store.committer import Committer
from khala.store.examinations import MongoExaminations
from khala.store.expansion import ExpansionStore
from khala.store.forgetting import MongoForgetting
from khala.store.holds import MongoHolds
from khala.store.jobs import MongoJobs
from khala.store.live import MongoLive
from khala.store.members import Members
from khala.store.outputs import MongoOutputs
from khala.store.payloads import MongoPayloads
from khala.store.predecessors import Predecessors
from khala.store.presets import MongoPresets
from khala.store.queue import MongoQueue
from khala.store.quotas import MongoQuotas
from khala.store.retention import MongoRetention
from khala.store.sessions import MongoSessions
from khala.store.statistics import MongoStatistics
from khala.store.successors import MongoSuccessors
from khala.store.tasks import MongoTasks
from khala.store.uploads import MongoUploads
from khala.store.users import MongoUsers


class MongoStore:
    """All statements on one database; what they wait for is served by `committer.run`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tasks = MongoTasks(database)
        self.sessions = MongoSessions(database)
        self.holds = MongoHolds(database)
        self.blobs = MongoBlobs(database)
        self.uploads = MongoUploads(database)
        self.jobs = MongoJobs(database)
        self.members = Members(self.blobs)
        self.expansion = ExpansionStore(self.jobs, self.members, self.tasks)
        self.predecessors = Predecessors(self.jobs, self.tasks)
        self.payloads = MongoPayloads(database)
        self.forgetting = MongoForgetting(database)
        self.retention = MongoRetention(database, self.forgetting)
        self.quotas = MongoQuotas(database)
        self.cluster_settings = MongoClusterSettings(database)
        self.queue = MongoQueue(database)
        self.statistics = MongoStatistics(database)
        self.successors = MongoSuccessors(database)
        self.outputs = MongoOutputs(database)
        self.presets = MongoPresets(database)
        self.users = MongoUsers(database)
        self.access_tokens = MongoAccessTokens(database)
        self.audit = MongoAudit(database)
        self.examinations = MongoExaminations(database)
        self.live = MongoLive(database)
        #: What has chunks, or is about to, that nothing may ever name.
        self.collectors = (self.payloads, self.outputs, self.live, self.uploads)
        self.committer = Committer(self.tasks, self.outputs, self.live)
        self.dispatch = DispatchStore(self.tasks, self.sessions, self.holds, self.committer)

    async def prepare(self) -> None:
        """Indexes of what is not a part of the schema: an older Khala can be started on it."""
        for each in (self.users, self.access_tokens, self.audit, self.examinations):
            await each.prepare()
