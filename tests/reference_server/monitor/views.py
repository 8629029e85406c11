import json

from django.conf import settings
from django.http import HttpResponseBadRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from . import in_redis
from .models import Host, ServiceReport


@require_GET
def client_config(request, client_id):
    host = get_object_or_404(Host, pk=client_id)
    return JsonResponse({"services": host.services()})


@csrf_exempt
@require_POST
def service_report(request):
    read = read_json if settings.REPORT_ENCODING == "json" else read_form
    try:
        fields = read(request)
        client_id = int(fields.pop("client_id"))
        service_name = fields.pop("service_name")
        data = fields.pop("data")
    except KeyError as missing:
        return HttpResponseBadRequest(f"The report has no {missing.args[0]}.\n")
    except (ValueError, TypeError) as error:
        return HttpResponseBadRequest(f"The report cannot be read: {error}.\n")
    host = get_object_or_404(Host, pk=client_id)
    if settings.REDIS_PORT:
        in_redis.store(host, service_name, data, fields)
    else:
        ServiceReport.objects.create(
            host=host, service_name=service_name, data=data, extra=fields
        )
    return JsonResponse({"stored": True})


def read_form(request):
    """Form fields, `data` as JSON text."""
    fields = request.POST.dict()
    fields["data"] = json.loads(fields["data"])
    return fields


def read_json(request):
    """One JSON object."""
    fields = json.loads(request.body)
    if not isinstance(fields, dict):
        raise ValueError("the body is not a JSON object")
    return fields
