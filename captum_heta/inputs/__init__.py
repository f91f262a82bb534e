"""Inputs for Captum's LLM interface that know chats and retrieved documents."""

from captum_heta.inputs.chat import ChatInput
from captum_heta.inputs.documents import DocumentsInput

__all__ = ["ChatInput", "DocumentsInput"]
