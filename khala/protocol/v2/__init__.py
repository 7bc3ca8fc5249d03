"""What `/api/v2` answers, as types: the gateway renders them, `khala.client` decodes them, and the
OpenAPI document is made of them, so that none of the three can say something the others do not.

A client may be older or newer than its gateway: unknown fields are ignored, and a field that is
added gets a default, which is what a gateway that does not know it has meant. The comment above a
field is its description in the document.
"""

from khala.protocol.v2.cases import Case, CaseOutput, Cases, Check, Difference, Score
from khala.protocol.v2.files import (
    Artifact,
    Artifacts,
    ArtifactsRequest,
    ArtifactsSummary,
    Blob,
    LeftOut,
)
from khala.protocol.v2.moments import encode, stamp
from khala.protocol.v2.nodes import (
    ExecutorChange,
    ExecutorNode,
    Hello,
    Image,
    ImageHolder,
    Images,
    JudicatorNode,
    Nodes,
    Status,
)
from khala.protocol.v2.problems import PROBLEMS, Issue, IssueCode, Problem, ProblemCode, Scalar
from khala.protocol.v2.tasks import (
    CaseDetail,
    Created,
    File,
    Gap,
    Inputs,
    Links,
    Output,
    Page,
    Pending,
    PendingCode,
    Plan,
    PlannedStage,
    PlannedStages,
    Result,
    Row,
    Stage,
    Stages,
    Task,
    Text,
)

__all__ = [
    "PROBLEMS",
    "Artifact",
    "Artifacts",
    "ArtifactsRequest",
    "ArtifactsSummary",
    "Blob",
    "Case",
    "CaseDetail",
    "CaseOutput",
    "Cases",
    "Check",
    "Created",
    "Difference",
    "ExecutorChange",
    "ExecutorNode",
    "File",
    "Gap",
    "Hello",
    "Image",
    "ImageHolder",
    "Images",
    "Inputs",
    "Issue",
    "IssueCode",
    "JudicatorNode",
    "LeftOut",
    "Links",
    "Nodes",
    "Output",
    "Page",
    "Pending",
    "PendingCode",
    "Plan",
    "PlannedStage",
    "PlannedStages",
    "Problem",
    "ProblemCode",
    "Result",
    "Row",
    "Scalar",
    "Score",
    "Stage",
    "Stages",
    "Status",
    "Task",
    "Text",
    "encode",
    "stamp",
]
