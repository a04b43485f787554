"""Describe prompts, conversations and what is done to them for the OpenAPI document."""

from rest_framework import serializers

from llm_gateway.api.schemas import Message


class TemplateMessage(serializers.Serializer[None]):
    role = serializers.ChoiceField(["system", "developer", "user", "assistant"])
    content = serializers.CharField(help_text="Places for values are written {{name}}.")


class NewPrompt(serializers.Serializer[None]):
    name = serializers.CharField(help_text="Letters, digits and . _ - .")
    description = serializers.CharField(required=False)
    messages = TemplateMessage(many=True)
    defaults = serializers.DictField(required=False, help_text="Values by the name of the place.")


class ChangedPrompt(serializers.Serializer[None]):
    description = serializers.CharField(required=False)
    messages = TemplateMessage(many=True)
    defaults = serializers.DictField(required=False)


class PromptVersion(serializers.Serializer[None]):
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class PromptRow(serializers.Serializer[None]):
    name = serializers.CharField()
    description = serializers.CharField()
    version = serializers.IntegerField(help_text="The latest.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class Prompt(PromptRow):
    messages = TemplateMessage(many=True)
    defaults = serializers.DictField()
    variables = serializers.ListField(child=serializers.CharField(), help_text="Its places.")
    versions = PromptVersion(many=True)


class PromptRows(serializers.Serializer[None]):
    data = PromptRow(many=True)  # type: ignore[assignment] # a field, no property
    next = serializers.CharField(allow_null=True)


class NewConversation(serializers.Serializer[None]):
    title = serializers.CharField(required=False)
    messages = Message(many=True, required=False, help_text="What it begins with.")


class ConversationTitle(serializers.Serializer[None]):
    title = serializers.CharField()


class ConversationRow(serializers.Serializer[None]):
    id = serializers.UUIDField()
    title = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ConversationMessage(Message):
    request_id = serializers.UUIDField(allow_null=True, help_text="The request it came with.")
    created_at = serializers.DateTimeField()


class Conversation(ConversationRow):
    messages = ConversationMessage(many=True)
    next = serializers.CharField(allow_null=True, help_text="Cursor of the messages that follow.")


class ConversationRows(serializers.Serializer[None]):
    data = ConversationRow(many=True)  # type: ignore[assignment] # a field, no property
    next = serializers.CharField(allow_null=True)


class CountRequest(serializers.Serializer[None]):
    """Either `messages` or `prompt`."""

    messages = Message(many=True, required=False)
    prompt = serializers.CharField(required=False)
    model = serializers.CharField(required=False, help_text="Without: the one that would be asked.")
    models = serializers.ListField(child=serializers.CharField(), required=False)


class ModelTokens(serializers.Serializer[None]):
    model = serializers.CharField()
    provider = serializers.CharField()
    tokens = serializers.IntegerField()
    exact = serializers.BooleanField(help_text="Counted by the model's own vocabulary.")
    error = serializers.FloatField(
        allow_null=True, help_text="How far off the number may be, as a share of it; null: unknown."
    )
    context_window = serializers.IntegerField(allow_null=True)
    fits = serializers.BooleanField(help_text="False: surely too long.")


class Tokens(serializers.Serializer[None]):
    tokens = serializers.IntegerField(help_text="For the first model.")
    data = ModelTokens(many=True)  # type: ignore[assignment] # a field, no property


class OptimizeRequest(serializers.Serializer[None]):
    """Either `messages` or `prompt`."""

    messages = Message(many=True, required=False)
    prompt = serializers.CharField(required=False)
    target_tokens = serializers.IntegerField(min_value=1)
    model = serializers.CharField(required=False, help_text="Whose tokens are meant.")


class RemovedPart(serializers.Serializer[None]):
    kind = serializers.ChoiceField(["whitespace", "repetition", "content", "history"])
    message = serializers.IntegerField(help_text="Its place among the messages that came.")
    role = serializers.CharField()
    tokens = serializers.IntegerField()
    excerpt = serializers.CharField()


class Optimized(serializers.Serializer[None]):
    tokens_before = serializers.IntegerField()
    tokens_after = serializers.IntegerField()
    target_tokens = serializers.IntegerField()
    reached = serializers.BooleanField()
    removed = RemovedPart(many=True)


class OptimizedPrompt(Optimized):
    messages = Message(many=True, required=False)
    prompt = serializers.CharField(required=False)
