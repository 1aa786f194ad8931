"""Bodies of requests and responses, with the fields of Jina's and Cohere's clients."""

from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from ..ranking import Cut, Report, ScoreKind
from ..text import Passage


def _whole(value: object) -> object:
    """Accept 3.0 as a whole number, because JSON has one kind of number; refuse "3" and true."""
    if isinstance(value, bool | str):
        raise ValueError("expected a whole number")  # noqa: TRY004 - pydantic reports ValueErrors
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _number(value: object) -> object:
    """Refuse "0.5" and true, which pydantic would read as numbers."""
    if isinstance(value, bool | str):
        raise ValueError("expected a number")  # noqa: TRY004 - pydantic reports ValueErrors
    return value


_SPELLINGS = [
    spelling
    for word in ("true", "false", "yes", "no", "on", "off", "t", "f", "y", "n")
    for spelling in (word, word.upper())
]

Truth = Annotated[
    bool,
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": [0, 1, "0", "1", *_SPELLINGS]}]}),
]
"""A boolean as clients write it: also 0, 1, and words such as ``"true"`` and ``"no"``, any case."""


class Document(BaseModel):
    """A document with a title. Other fields are allowed and ignored."""

    model_config = ConfigDict(extra="allow")

    text: str
    title: str | None = None


_NOT_BLANK: dict[str, Any] = {"pattern": r"\S"}
"""Described, and not checked by pydantic: the strategy that refuses a blank text says so."""


def _instruction() -> Any:
    return Field(
        default=None,
        validation_alias=AliasChoices("instruction", "instruct"),
        description="What relevance means for this query, where the model's prompt has a place for "
        "it. It may also be called instruct.",
    )


class RerankRequest(BaseModel):
    """A query and the documents to rank. Fields that are not listed are ignored with a warning."""

    model_config = ConfigDict(extra="allow")

    query: str
    documents: list[Any]
    model: str | None = Field(default=None, description="One of this service's names.")
    top_n: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = Field(
        default=None, description="How many results to return; all by default."
    )
    score_threshold: (
        Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)] | None
    ) = Field(default=None, description="The lowest `score` to return.")
    cut_at_gap: Truth | None = Field(
        default=None, description="Whether to return what stands above the largest drop of `score`."
    )
    keep_at_least: Annotated[int, Field(ge=0), BeforeValidator(_whole)] | None = Field(
        default=None, description="How many results both leave in any case; none by default."
    )
    return_documents: Truth | None = Field(
        default=None, description="Whether results repeat their documents."
    )
    instruction: str | None = _instruction()
    explain: Truth | None = Field(
        default=None, description="Whether the answer shows what the model was asked."
    )

    @property
    def passages(self) -> list[Passage]:
        """The documents as passages."""
        return [
            Passage(d) if isinstance(d, str) else Passage(d.text, title=d.title or "")
            for d in self.documents
        ]

    @property
    def cut(self) -> Cut:
        """The end of the ranking by its scores."""
        return Cut(
            score_threshold=self.score_threshold,
            cut_at_gap=bool(self.cut_at_gap),
            keep_at_least=self.keep_at_least or 0,
        )

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of the fields that are not supported."""
        return tuple(self.model_extra or ())


# Those with the limits of a service have the same names: its OpenAPI document shows them.
_Document = Document
_Request = RerankRequest


def request_model(
    max_documents: int, max_query_chars: int, max_document_chars: int
) -> type[RerankRequest]:
    """`RerankRequest` with the limits of a service, which its OpenAPI document then shows."""

    def kind(value: object) -> str:
        return "object" if isinstance(value, dict | BaseModel) else "text"

    class Document(_Document):
        """A document with a title. Other fields are allowed and ignored."""

        text: str = Field(max_length=max_document_chars, description="The text to rank.")
        title: str | None = Field(
            default=None,
            max_length=max_document_chars,
            description="For prompts that have a place for it.",
        )

    document = (
        Annotated[str, Field(max_length=max_document_chars), Tag("text")]
        | Annotated[Document, Tag("object")]
    )

    class RerankRequest(_Request):
        """A query and the documents to rank. Unknown fields are ignored with a warning."""

        query: str = Field(
            max_length=max_query_chars, description="The query. A blank one keeps the order."
        )
        instruction: (
            Annotated[str, Field(max_length=max_query_chars, json_schema_extra=_NOT_BLANK)] | None
        ) = _instruction()
        documents: list[Annotated[document, Discriminator(kind)]] = Field(
            max_length=max_documents, description="Texts, or objects with a text."
        )

    return RerankRequest


class ReturnedDocument(BaseModel):
    """A document of the request, without its other fields."""

    text: str
    title: str | None = None

    @classmethod
    def of(cls, document: object) -> "ReturnedDocument":
        """Return a document of the request: a text or an object."""
        if isinstance(document, str):
            return cls(text=document)
        found = cls.model_validate(document, from_attributes=True)
        return cls(text=found.text) if found.title is None else found


class Result(BaseModel):
    """One document with its scores."""

    index: int = Field(description="The document's position in the request, from 0.")
    relevance_score: float | None = Field(
        description="From 0 to 1, in descending order; null for a document that no model read."
    )
    score: float | None = Field(
        description="The strategy's own score, of the kind `score_kind`; null like the other one."
    )
    document: ReturnedDocument | None = None


class TokenUsage(BaseModel):
    """The cost of the ranking: Jina's fields, and some more."""

    total_tokens: int
    prompt_tokens: int
    generated_tokens: int
    calls: int = Field(description="Calls to the model.")
    seconds: float = Field(description="Without the time of loading the model.")
    loading_seconds: float = Field(
        description="Time in which the ranking waited for the model to be loaded: 0 once it is."
    )


class ApiVersion(BaseModel):
    """The version, as Cohere reports it."""

    version: str


class BilledUnits(BaseModel):
    """Cohere's unit of cost: a search unit is a query with up to 100 documents."""

    search_units: int


class Tokens(BaseModel):
    """Tokens, as Cohere reports them."""

    input_tokens: int
    output_tokens: int


class Meta(BaseModel):
    """Further fields that Cohere's clients read."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: Tokens
    warnings: list[str] | None = Field(
        default=None, description="Ignored fields, and reasons for a fallback."
    )


class Asked(BaseModel):
    """A call to the model, with its answer."""

    kind: str = Field(description="The kind of the call, such as `NextToken` or `ScorePair`.")
    question: str = Field(description="The prompt, or the texts that were scored.")
    answer: str = Field(description="What came back; the name of the error if it failed.")
    failed: bool


class RerankResponse(BaseModel):
    """The documents in order of relevance, best first, with cost and report."""

    id: str
    model: str
    results: list[Result]
    score_kind: ScoreKind = Field(description="The kind of `score`.")
    fallback: bool = Field(
        description="Whether any part of the order is the request's because something failed."
    )
    usage: TokenUsage
    report: Report = Field(description="Repairs and fallbacks, by number or position.")
    meta: Meta
    asked: list[Asked] | None = Field(
        default=None, description="The first calls to the model, if the request has `explain`."
    )


class Fault(BaseModel):
    """One error in a request."""

    at: str = Field(description="The place in the body.")
    message: str


class Problem(BaseModel):
    """The reason for an error. Jina's clients show `detail`, Cohere's `message`."""

    id: str
    detail: str
    message: str = Field(description="The same as `detail`.")
    type: str = Field(description="The name of the error.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    errors: list[Fault] | None = None


class Model(BaseModel):
    """A name that requests may use, as OpenAI lists it."""

    id: str
    object: str = "model"
    owned_by: str = "rerank-plugins"


class NamedModel(BaseModel):
    """A name that requests may use, as Cohere lists it."""

    name: str
    endpoints: list[str] = ["rerank"]


class Models(BaseModel):
    """The names that requests may use, in both shapes."""

    object: str = "list"
    data: list[Model]
    models: list[NamedModel]


class Status(BaseModel):
    """Whether the service is alive, or ready."""

    status: str
